"""A stored run with every table, and its fixtures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clso.artifacts import Run, RunFolder, load_run, table_from_rows
from clso.statistics.bootstrap import BootstrapSettings, ModelCost
from clso.statistics.picks import Genes

RUN_ID = "quick-0a1b2c3d"
SEED = 7
METER = {"energy_source": "cpu_model", "estimated": True}
FAMILIES = ["block_sparse"] * 8 + ["quantized_low_rank"] * 8
SLOTS = [f"layer{layer}.{name}" for layer in (0, 1) for name in ("attn_qkv", "mlp_up")]
TEST_LOSSES = {"uniform": 9.01, "unigram": 6.62, "bigram": 5.71, "gpt": 6.58, "adamw": 5.33}


class Tokens:
    """A split in memory, its blocks and documents as `clso.data.TokenSplit` gives them."""

    def __init__(
        self, stream: np.ndarray, block_size: int, lengths: list[int] | None = None
    ) -> None:
        self.name = "test"
        self.block_size = block_size
        self.n_blocks = (len(stream) - 1) // block_size
        self._stream = stream
        self._owner = np.repeat(np.arange(len(lengths or [1])), lengths or [len(stream)])

    @property
    def n_tokens(self) -> int:
        return self.n_blocks * self.block_size

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self._stream[start:stop]

    def blocks(self, index: slice) -> tuple[np.ndarray, np.ndarray]:
        return self._cut(self._stream[:-1], index), self._cut(self._stream[1:], index)

    def documents(self, index: slice) -> np.ndarray:
        return self._cut(self._owner[1:], index)

    def _cut(self, values: np.ndarray, index: slice) -> np.ndarray:
        whole = values[: self.n_tokens].astype(np.int64)
        return whole.reshape(self.n_blocks, self.block_size)[index]


def make_scores(
    losses: dict[str, float], *, documents: int = 40, spread: float = 0.3, seed: int = 0
) -> pa.Table:
    """Scores in which every model finds the same documents hard."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(0, spread, documents)
    lengths = rng.integers(100, 600, documents)
    rows = []
    for split in ("validation", "test"):
        for model, loss in losses.items():
            own = rng.normal(0, 0.05, documents)
            for document, length in enumerate(lengths):
                rows.append(
                    {
                        "run_id": RUN_ID,
                        "seed": SEED,
                        "model": model,
                        "split": split,
                        "document": document,
                        "block": document // 2,
                        "n_tokens": int(length),
                        "n_bytes": int(4.1 * length),
                        "nll": float(length * (loss + hardness[document] + own[document])),
                    }
                )
    return table_from_rows(rows, "scores")


def evaluation_rows(rng: np.random.Generator, generations: int, start: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for generation in range(generations):
        guided = generation >= start
        for individual in range(16):
            genome = [int(gene) for gene in rng.integers(0, 16, len(SLOTS))]
            if rng.random() < 0.06 * generation:
                genome[0] %= 8  # the search learns to like one family in one gene
            loss = 6.56 + 0.30 * np.exp(-0.2 * generation) + 0.06 * rng.random()
            loss -= 0.08 * (genome[0] < 8)
            status = "evaluated"
            if generation and individual < 2:
                status = "cached"
            elif guided and individual > 7:
                status = "predicted"
            elif generation == 2 and individual == 9:
                status = "failed"
            known = status in ("evaluated", "cached")
            scored = status in ("evaluated", "failed")
            rows.append(
                {
                    "run_id": RUN_ID,
                    "seed": SEED,
                    "family": "gpt",
                    "generation": generation,
                    "individual": individual,
                    "genome": genome,
                    "genome_hash": "-".join(map(str, genome)),
                    "origin": "init" if generation == 0 else "crossover",
                    "status": status,
                    "predicted_loss": float(loss + rng.normal(-0.02, 0.03)) if guided else None,
                    "predicted_std": 0.03 if guided else None,
                    "screening_loss": None,
                    "evaluated_loss": float(loss) if known else None,
                    "fidelity": 1.0 if known or scored else None,
                    "tokens": 5120 if scored else None,
                    "duration_s": 0.11 if scored else None,
                    "energy_j": 1.1 if scored else None,
                    "energy_source": "cpu_model" if scored else None,
                    "estimated": True if scored else None,
                }
            )
    if start < generations:
        # a hope far below anything that was ever scored
        hopeful = next(row for row in reversed(rows) if row["status"] == "predicted")
        hopeful["predicted_loss"] = 1.6538
        hopeful["genome_hash"] = "never-scored"
    return rows


def generation_rows(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows, best = [], np.inf
    for generation in sorted({row["generation"] for row in evaluations}):
        own = [row for row in evaluations if row["generation"] == generation]
        losses = [row["evaluated_loss"] for row in own if row["evaluated_loss"] is not None]
        best = min(best, *losses)
        counts = {
            f"n_{status}": sum(row["status"] == status for row in own)
            for status in ("evaluated", "predicted", "cached", "failed", "screened")
        }
        rows.append(
            {
                "run_id": RUN_ID,
                "seed": SEED,
                "family": "gpt",
                "generation": generation,
                "best_loss": best,
                "mean_loss": float(np.mean(losses)),
                "std_loss": float(np.std(losses)),
                **counts,
                "population": 16,
                "tokens": sum(row["tokens"] or 0 for row in own),
                "n_unique": len({row["genome_hash"] for row in own}),
                "mean_hamming": 3.1,
                "surrogate": "mlp" if counts["n_predicted"] else None,
                "n_discarded": 0,
                "n_random": int(counts["n_predicted"] > 0),
                "spared_share": 0.8 if counts["n_predicted"] else None,
                "spearman": None,
                "topk_recall": None,
                "duration_s": 1.5,
                "energy_j": 15.0,
                **METER,
            }
        )
    return rows


def baseline_rows() -> list[dict[str, Any]]:
    rows = []
    for lr, end in ((1e-3, 5.42), (2e-3, 5.33), (4e-3, 5.37)):
        for step in range(0, 501, 20):
            curve = end + (9.0 - end) * np.exp(-step / 70)
            rows.append(
                {
                    "run_id": RUN_ID,
                    "seed": SEED,
                    "lr": lr,
                    "schedule": "cosine",
                    "batch_size": 4,
                    "dropout": 0.0,
                    "passes": 1,
                    "threads": 2,
                    "step": step,
                    "tokens": step * 512,
                    "train_loss": None if step == 0 else float(curve - 0.05 + 0.04 * (step % 3)),
                    "validation_loss": float(curve) if step and step % 100 == 0 else None,
                    "duration_s": 0.06 * step,
                    "energy_j": 1.1 * step,
                    **METER,
                }
            )
    return rows


def energy_rows() -> list[dict[str, Any]]:
    stages = {
        "prepare": 210.0,
        "library": 14.0,
        "search": 190.0,
        "baseline": 1690.0,
        "analyze": 90.0,
    }
    return [
        {
            "run_id": RUN_ID,
            "seed": SEED,
            "stage": stage,
            "device": "cpu",
            "energy_j": joules,
            "duration_s": joules / 18,
            "mean_power_w": 18.0,
            **METER,
            "reason": None,
            "reused": stage == "prepare",
        }
        for stage, joules in stages.items()
    ]


def fill_run(
    path: Path,
    losses: dict[str, float] | None = None,
    *,
    surrogate_start: int = 5,
    generations: int = 12,
    documents: int = 40,
) -> Run:
    folder = RunFolder(path)
    scores = make_scores(losses or TEST_LOSSES, documents=documents)
    rng = np.random.default_rng(3)
    evaluations = evaluation_rows(rng, generations, surrogate_start)
    folder.write_rows("evaluations", evaluations)
    folder.write_rows("generations", generation_rows(evaluations))
    folder.write_rows("baseline", baseline_rows())
    folder.write_rows("energy", energy_rows())
    folder.write_rows("scores", scores.to_pylist())
    costs = {
        "unigram": ModelCost(train_tokens=256_000, stored_bytes=65_536, duration_s=0.2),
        "bigram": ModelCost(train_tokens=256_000, stored_bytes=1_900_000, duration_s=0.5),
        "gpt": ModelCost(256_000, 220_000, 204.0, "cpu_model", True, 21.4),
        "adamw": ModelCost(256_000, 5_800_000, 550.0, "cpu_model", True, 30.0),
    }
    settings = BootstrapSettings(resamples=500)
    folder.write_rows("results", settings.summarize(scores, costs, seed=SEED))
    pairs = [
        (a, b)
        for a, b in (
            ("gpt", "adamw"),
            ("gpt", "bigram"),
            ("gpt", "unigram"),
            ("adamw", "bigram"),
            ("adamw", "unigram"),
        )
        if a in (losses or TEST_LOSSES) and b in (losses or TEST_LOSSES)
    ]
    folder.write_rows(
        "comparisons",
        [row for a, b in pairs for row in settings.compare(scores, a, b, seed=SEED)],
    )
    splits = {
        name: {"documents": count, "bytes": 1000 * count, "tokens": 260 * count}
        for name, count in (("train", 951), ("tune", 59), ("validation", 60), ("test", documents))
    }
    folder.write_manifest(
        {
            "run_id": RUN_ID,
            "seed": SEED,
            "stages": {"search": {"status": "done", "at": "2026-11-22T03:10:05+00:00"}},
            "config": {"name": "quick", "seed": SEED, "model": {"n_layer": 2, "n_embd": 128}},
            "versions": {"clso": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
            "host": {"processor": "AMD EPYC", "cores": 2},
            "genes": {"gpt": Genes.describe([(slot, FAMILIES) for slot in SLOTS])},
            "search": {"gpt": {"stop_reason": "generations"}},
            "dataset": {
                "fingerprint": "51c2d9e08c1f44aa",
                "source": {"name": "package bible: data/kjv.jsonl"},
                "text_sha256": "3f" * 32,
                "split_sha256": "9b" * 32,
                "tokenizer": {"kind": "bpe", "vocab_size": 8192, "sha256": "7d" * 32},
                "splits": splits,
                "used": {
                    name: {"tokens": 128 * (count["tokens"] // 128), "unused_tokens": 99}
                    for name, count in splits.items()
                },
            },
        }
    )
    return load_run(path)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    return partial(fill_run, tmp_path / "runs" / RUN_ID)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A complete run that no test changes; `make_run` gives one of a test's own."""
    return fill_run(tmp_path_factory.mktemp("runs") / RUN_ID)


@pytest.fixture
def tokens_of() -> type[Tokens]:
    return Tokens


@pytest.fixture
def scores_of() -> Callable[..., pa.Table]:
    return make_scores
