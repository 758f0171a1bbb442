"""What the section on fine-tuning says about the rows of its table."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from clso.artifacts import table_from_rows
from clso.report.models import Models
from clso.report.terminal import TerminalTable
from clso.statistics.bootstrap import BootstrapSettings
from clso.studies.finetunings import Finetuning

SEEDS, DOCUMENTS, EACH = 5, 40, 10
MODELS = Models({})
NOTE: dict[str, Any] = {
    "about": ["Is it so?"],
    "labels": ["no", "yes"],
    "metric": "accuracy",
    "train": 100,
    "held_out": 20,
    "reported": DOCUMENTS * EACH,
    "overlapping": 3,
    "cut": 2,
    "max_length": 64,
    "rates": {"gpt": 1e-3, "adamw": 3e-4},
    "settings": {"epochs": 3, "train_examples": None, "learning_rates": [3e-4, 1e-3, 3e-3]},
}


def row(start: str, seed: int, share: float | None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a fit that has a share of the labels right; `None`: training diverged."""
    rng = np.random.default_rng([seed, *start.encode()])
    expected = np.arange(DOCUMENTS * EACH) % 2
    right = rng.random(len(expected)) < (share or 0)
    predicted = np.where(right, expected, 1 - expected)
    ended = share is not None
    return {
        "run_id": "run",
        "seed": seed,
        "task": "toy",
        "start": start,
        "chooses": False,
        "lr": 1e-3,
        "train_loss": 0.5 if ended else None,
        "loss": 0.6 if ended else None,
        "accuracy": float(right.mean()) if ended else None,
        "matthews": 2 * float(right.mean()) - 1 if ended else None,
        "train_examples": 100,
        "tokens": 3000,
        "expected": expected.tolist() if ended else [],
        "predicted": predicted.tolist() if ended else [],
        "documents": (np.arange(len(expected)) // EACH).tolist() if ended else [],
        "duration_s": 1.0,
        "energy_j": 10.0,
        "energy_source": "rapl",
        "estimated": False,
        **changes,
    }


def finetuning(shares: dict[str, float | None], **note: Any) -> Finetuning:  # noqa: ANN401
    rows = [row(start, seed, share) for start, share in shares.items() for seed in range(SEEDS)]
    rows.append(row("majority", 0, 0.5, lr=None, train_loss=None))
    rows.append(row("gpt", 0, 0.1, chooses=True))
    table = table_from_rows(rows, "finetunings")
    return Finetuning(table, "toy", {**NOTE, **note}, BootstrapSettings(resamples=500), 0)


def printed(table: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    return " ".join(console.export_text().split())


def test_both_intervals_decide() -> None:
    found = finetuning({"gpt": 0.8, "adamw": 0.9, "warm_start": 0.8, "random": 0.6})
    verdicts = {comparison.other: comparison.verdict for comparison in found.comparisons}
    assert verdicts == {"adamw": -1, "warm_start": 0, "random": 1, "majority": 1}
    for comparison in found.comparisons:
        low, high = comparison.over_documents
        assert low is not None
        assert high is not None
        assert low < comparison.over_seeds.mean < high
    (sentence,) = [text for text in found.sentences(MODELS) if text.startswith("From the")]
    assert "higher than that of random weights, most frequent label" in sentence
    assert "lower than that of AdamW GPT-2" in sentence
    assert "not surely other than that of AdamW, warm start" in sentence


def test_the_bootstrap_is_around_the_mean_of_the_seeds() -> None:
    found = finetuning({"gpt": 0.8, "adamw": 0.9})
    for start in ("gpt", "adamw"):
        assert np.isclose(found._resampled[start].mean(), found.scores(start).mean(), atol=0.005)
    # equal draws for both, so a difference is surer than its parts would be alone
    pair = found._resampled["gpt"] - found._resampled["adamw"]
    assert pair.std() < found._resampled["gpt"].std() + found._resampled["adamw"].std()


def test_documents_are_resampled_whole() -> None:
    rows = [row("gpt", seed, 0.5) for seed in range(2)]
    for number, own in enumerate(rows):
        # every document is right or wrong as a whole, the same for each seed
        right = np.arange(DOCUMENTS * EACH) // EACH % 2 == 0
        own["predicted"] = np.where(right, own["expected"], 1 - np.array(own["expected"])).tolist()
        own["accuracy"] = 0.5 + 0.0 * number
    table = table_from_rows(rows, "finetunings")
    found = Finetuning(table, "toy", NOTE, BootstrapSettings(resamples=2000), 0)
    deviation = found._resampled["gpt"].std()
    assert np.isclose(deviation, 0.5 / np.sqrt(DOCUMENTS), rtol=0.1)


def test_the_matthews_correlation_is_compared_where_the_task_has_it() -> None:
    found = finetuning({"gpt": 0.8, "adamw": 0.9}, metric="matthews")
    assert np.isclose(found.scores("gpt").mean(), 0.6, atol=0.05)
    assert np.isclose(found._resampled["gpt"].mean(), 0.6, atol=0.05)
    assert "Matthews correlation" in printed(TerminalTable(found.table(MODELS, {})))


def test_the_table_has_scores_intervals_and_joules() -> None:
    found = finetuning({"gpt": 0.8, "adamw": 0.9})
    text = printed(TerminalTable(found.table(MODELS, {"gpt": 26.0, "adamw": 166.0})))
    assert text.index("AdamW GPT-2") < text.index("crystalline GPT") < text.index("most frequent")
    for shown in (f"{found.scores('gpt').mean():.3f}", "166 J", "26 J", "10 J", "rapl"):
        assert shown in text
    assert "undecided" not in printed(TerminalTable(found.differences_table(MODELS)))


def test_readers_are_told_what_qualifies_the_scores() -> None:
    text = " ".join(finetuning({"gpt": 0.8, "adamw": 0.9}).sentences(MODELS))
    assert "2 texts had more tokens and were cut" in text
    assert "3 of the texts to report on stand in train word for word" in text
    assert "The rate of AdamW GPT-2 lies at an end of the grid 0.0003, 0.001, 0.003" in text


def test_a_start_that_diverged_has_no_score() -> None:
    found = finetuning({"gpt": 0.8, "adamw": None})
    assert "adamw" not in found.starts
    assert "Training from AdamW GPT-2 diverged" in " ".join(found.sentences(MODELS))


@pytest.mark.parametrize("shares", [{"adamw": 0.9, "random": 0.5}, {"gpt": None, "adamw": 0.9}])
def test_without_the_crystalline_gpt_nothing_is_compared(shares: dict[str, float | None]) -> None:
    found = finetuning(shares)
    assert found.comparisons == []
    assert not any(text.startswith("From the") for text in found.sentences(MODELS))


def test_the_figure_names_every_start() -> None:
    found = finetuning({"gpt": 0.8, "adamw": 0.9, "random": 0.6})
    labels = [tick.get_text() for tick in found._figure(MODELS).axes[0].get_yticklabels()]
    assert {"crystalline GPT", "AdamW GPT-2", "random weights", "most frequent label"} <= {*labels}
