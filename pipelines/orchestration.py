"""A command as its Prefect flow, where Prefect works, and plainly where it does not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.errors import WorkError
from clso.progress import Reporter
from pipelines.console import console
from pipelines.prefect_env import prepare_environment
from pipelines.prefect_server import prefect_server, warn

if TYPE_CHECKING:
    from clso.artifacts import Run
    from pipelines.config import RunConfig

__all__ = ["orchestrated"]


def orchestrated(
    name: str,
    config: RunConfig,
    *,
    out: Path,
    reporter: Reporter,
    **options: Any,  # noqa: ANN401 - the command's own
) -> Run:
    """Run a command as the flow of its name; without Prefect's server, as the function it is.

    The result is that of the work, whatever becomes of the server meanwhile.

    Raises:
        PrefectError: the user's settings of Prefect, or the server that they name, cannot be used.
        WorkError: Prefect refuses the run, as it does a run that was cancelled before it began.
        KeyboardInterrupt: the flow run was interrupted, or cancelled in Prefect.
    """
    prepare_environment(out.resolve())
    with ExitStack() as stack:
        with console.status("starting Prefect"):
            server = stack.enter_context(prefect_server())
            if server != "none":
                from pipelines.flows import FLOWS, listener
                from pipelines.prefect_pages import log_to_server

                listener.set(reporter)
                if server == "user":  # an embedded one shows its log to nobody
                    log_to_server()
        if server != "none":
            try:
                return _outcome(partial(FLOWS[name], config, out=out, **options))
            except _NeverBegan as failure:
                warn(f"Prefect failed before the work began ({failure}); it goes on without")
    import pipelines

    function: Callable[..., Run] = getattr(pipelines, name)
    return function(config, out=out, reporter=reporter, **options)


class _NeverBegan(Exception):
    """Prefect could not start a flow."""


def _outcome(flow: Callable[[], Run]) -> Run:
    """Return the result of a flow's work, or raise its error."""
    from prefect.exceptions import CancelledRun, PrefectSignal

    from pipelines.flow_link import FlowRecord, recording

    record = FlowRecord()
    token = recording.set(record)
    try:
        return flow()
    except (Exception, PrefectSignal) as error:
        if record.interrupted:
            raise KeyboardInterrupt(record.interrupted) from None
        if record.error is not None:
            raise record.error from None
        if record.result is not None:
            done: Run = record.result[0]
            warn("the work is done; Prefect's server could not be told so")
            return done
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, (PrefectSignal, CancelledRun)):
            raise WorkError(
                f"Prefect ended the run before it began: {reason}",
                remedy="run the command again, or do without: --no-prefect",
            ) from None
        raise _NeverBegan(reason) from None
    finally:
        recording.reset(token)
