"""The report's section on texts: what every model writes after the same words."""

from __future__ import annotations

from clso.artifacts import Run
from clso.report.html import Block, ReportSection
from clso.report.models import Models

__all__ = ["texts_section"]

_TITLE = "What the models write"
_ANCHOR = "texts"


def texts_section(run: Run) -> ReportSection:
    """Return the stored samples of all models, in the order of the result table."""
    if not run.has("samples") or not run.samples.num_rows:
        missing = "Not there yet: clso analyze CONFIG makes it."
        if run.has("results"):
            missing = (
                "This run was analysed before samples were stored: clso generate RUN writes a text."
            )
        return ReportSection(_TITLE, [Block("missing", missing)], _ANCHOR)
    models = Models(run.manifest)
    ranked = sorted(run.folder.read("results").to_pylist(), key=lambda row: row["test_loss"])
    places = {row["model"]: place for place, row in enumerate(ranked)}
    rows = sorted(run.samples.to_pylist(), key=lambda row: places.get(row["model"], len(places)))
    first = rows[0]
    texts = [("the text itself", first["prompt"], first["followed_by"])]
    texts += [(models.title(row["model"]), row["prompt"], row["text"]) for row in rows]
    return ReportSection(
        _TITLE,
        [
            "Every model continues the same first words of the validation text, in grey. Each "
            f"token is drawn with seed {first['seed']} at temperature {first['temperature']:g} "
            f"from the most probable tokens that together have {first['top_p']:g} of the mass. "
            "One sample shows a model's style; it measures nothing.",
            Block("texts", texts),
        ],
        _ANCHOR,
    )
