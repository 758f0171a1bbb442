"""What `clso serve` refuses, before Prefect starts."""

from pathlib import Path

import pytest

from clso.errors import ConfigError
from pipelines.deployments import Served

NIGHTLY = {"commands": ["tune"], "cron": "0 2 * * *"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"commands": ["tun"]}, "there is no flow 'tun'; there are run, prepare"),
        ({"overrides": ["seed=1"]}, "--set overrides a configuration, and there is none"),
        ({"cron": "0 2 * * *", "config": "tune"}, "a schedule starts the flow of one command"),
        ({**NIGHTLY}, "a schedule starts the flow of one command with one configuration"),
        ({**NIGHTLY, "config": "tune", "timezone": "Pari"}, "there is no timezone 'Pari'"),
        ({**NIGHTLY, "config": "quick"}, "a study tunes one of them"),
        ({"config": "quik"}, "did you mean the shipped configuration quick"),
        ({"config": "quick", "overrides": ["sed=1"]}, "sed: unknown key"),
    ],
)
def test_a_mistake_is_told_before_anything_is_served(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Served(**{"commands": (), "name": "served", "out": tmp_path, **given})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
