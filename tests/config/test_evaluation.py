from __future__ import annotations

import pytest

from clso.errors import ConfigError
from pipelines.config import load_config

LADDER = "search.fidelity.kind=racing"


def test_scores_are_float32_and_unscreened_unless_asked_for() -> None:
    evaluation = load_config("quick").evaluation
    assert (evaluation.precision, evaluation.screening) == ("float32", False)


@pytest.mark.parametrize("asked", ["evaluation.precision=bfloat16", "evaluation.screening=true"])
def test_what_a_mixture_alone_cannot_have_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match="families is mixture; add gpt to families"):
        load_config("quick", [asked, LADDER, "families=[mixture]"])
    load_config("quick", [asked, LADDER])
    load_config("quick", ["evaluation.precision=auto", "families=[mixture]"])


def test_a_screening_without_a_ladder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"search\.fidelity\.kind is none"):
        load_config("quick", ["evaluation.screening=true"])
