"""What AdamW made of the found crystalline GPT, in a sentence for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clso.report.formats import format_loss

__all__ = ["warm_start_sentence"]


def warm_start_sentence(manifest: Mapping[str, Any]) -> str:
    """Say how soon AdamW from the found model is where it ended from scratch; empty without one.

    Args:
        manifest: a run's; its `warm_start` is what the stage noted.
    """
    note = manifest.get("warm_start")
    if not note:
        return ""
    scratch, start = format_loss(note["scratch_loss"]), format_loss(note["start_loss"])
    ended = format_loss(note["validation_loss"])
    steps, n_steps = note["steps_to_scratch_loss"], note["n_steps"]
    if steps is None:
        reached = f"does not reach the {scratch} of its best run from scratch in {n_steps:,} steps"
    elif steps == 0:
        reached = f"begins below the {scratch} of its best run from scratch"
    else:
        reached = (
            f"reaches the {scratch} of its best run from scratch within {steps:,} of {n_steps:,} "
            "steps"
        )
    return (
        f"From the crystalline GPT that the search found (validation loss {start}), AdamW "
        f"{reached}; at its best it is at {ended} ({note['trial']})."
    )
