"""The flows as Prefect deployments that this process serves.

Their runs are started in Prefect's UI, from its command line, from Python or by a schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clso.errors import ConfigError
from pipelines.config import load_config, parse_override
from pipelines.flow_command import FLOW_NAMES
from pipelines.studies import STUDIES, check_study

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

__all__ = ["Served"]


@dataclass(frozen=True)
class Served:
    """What is served, checked before Prefect starts.

    Attributes:
        commands: names of the commands whose flows are served; none: all.
        name: of the deployments, behind the flow's: `clso-run/NAME`.
        out: the output folder of runs that are not given another one.
        config: a YAML file or the name of a shipped configuration, for runs that are not given
            another one; a schedule needs it.
        overrides: of the configuration, each `a.b=value`.
        cron: when to start runs, in the five fields of cron; `None`: on demand alone.
        timezone: of `cron`, such as `Europe/Paris`.
        tags: of the deployments, and so of their runs.

    Raises:
        ConfigError: there is no such command, the configuration is wrong, or a schedule lacks what
            it needs.
    """

    commands: Sequence[str]
    name: str
    out: Path
    config: str | None = None
    overrides: Sequence[str] = ()
    cron: str | None = None
    timezone: str = "UTC"
    tags: Sequence[str] = field(default=("clso",))

    def __post_init__(self) -> None:
        for name in self.commands:
            if name not in FLOW_NAMES:
                raise ConfigError(
                    f"there is no flow {name!r}; there are {', '.join(FLOW_NAMES)}",
                    remedy="give one of them to --flow",
                )
        if self.overrides and self.config is None:
            raise ConfigError(
                "--set overrides a configuration, and there is none",
                remedy="name one: clso serve quick --set seed=1",
            )
        if self.cron is not None and (self.config is None or len(self.commands) != 1):
            raise ConfigError(
                "a schedule starts the flow of one command with one configuration",
                remedy='write such as clso serve tune --flow tune --cron "0 2 * * *"',
            )
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(
                f"there is no timezone {self.timezone!r}",
                remedy="give --timezone one such as Europe/Paris",
            ) from error
        if self.config is not None:
            config = load_config(self.config, self.overrides)
            for name in {*self.commands} & {*STUDIES} if self.cron else ():
                check_study(name, config)

    def deployments(self) -> list[RunnerDeployment]:
        """Return the deployments, which are not registered yet.

        Raises:
            ConfigError: `cron` is no schedule.
        """
        from prefect.deployments.runner import RunnerDeployment
        from prefect.types.entrypoint import EntrypointType

        from pipelines.flows import FLOWS

        schedule = self._schedule()
        return [
            RunnerDeployment.from_flow(
                FLOWS[name],
                name=self.name,
                parameters=self._parameters(),
                tags=list(self.tags),
                schedule=schedule,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            for name in self.commands or FLOW_NAMES
        ]

    def serve(self, limit: int) -> None:
        """Register the deployments and start their runs, `limit` at a time, until Ctrl-C.

        Raises:
            ConfigError: there is no Prefect server, or `cron` is no schedule.
            PrefectError: the server does not answer, or does not fit.
        """
        from pipelines.prefect_env import read_settings
        from pipelines.prefect_server import check_server

        url = read_settings().api.url
        if url is None:
            raise ConfigError(
                "serving needs a Prefect server that stays, and none is set",
                remedy="start one with `prefect server start`, and set "
                "PREFECT_API_URL=http://127.0.0.1:4200/api",
            )
        check_server(url)
        import prefect

        prefect.serve(*self.deployments(), limit=limit)

    def _parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {"out": str(self.out.resolve())}
        if self.config is not None:
            # a file is named in full: a run may start in another folder
            path = Path(self.config)
            parameters["config"] = str(path.resolve()) if path.is_file() else self.config
        if self.overrides:
            parameters["overrides"] = dict(map(parse_override, self.overrides))
        return parameters

    def _schedule(self) -> Schedule | None:
        from prefect.schedules import Cron

        if self.cron is None:
            return None
        try:
            return Cron(self.cron, timezone=self.timezone)
        except ValueError as error:
            raise ConfigError(
                f"--cron {self.cron!r} is no schedule of five fields: minute, hour, day, month, "
                "weekday",
                remedy='write such as "0 2 * * *", every night at two',
            ) from error
