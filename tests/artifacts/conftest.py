from pathlib import Path
from typing import Any

import pytest

from clso.artifacts import Run, RunFolder, load_run


def evaluation(run_id: str, generation: int, individual: int) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "seed": 1,
        "family": "gpt",
        "generation": generation,
        "individual": individual,
        "genome": [individual, generation],
        "genome_hash": f"{individual}-{generation}",
        "origin": "init",
        "status": "evaluated",
        "predicted_loss": None,
        "predicted_std": None,
        "screening_loss": None,
        "evaluated_loss": 7.0 - 0.1 * generation - 0.01 * individual,
        "fidelity": 1.0,
        "tokens": 512,
        "duration_s": 0.25,
        "energy_j": 2.5,
        "energy_source": "cpu_model",
        "estimated": True,
    }


def generation(run_id: str, number: int) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "seed": 1,
        "family": "gpt",
        "generation": number,
        "best_loss": 6.9 - 0.1 * number,
        "mean_loss": 7.0,
        "std_loss": 0.1,
        "n_evaluated": 3,
        "n_predicted": 0,
        "n_cached": 0,
        "n_failed": 0,
        "n_screened": 0,
        "population": 3,
        "tokens": 1536,
        "n_unique": 3,
        "mean_hamming": 1.0,
        "surrogate": None,
        "n_discarded": 0,
        "n_random": 0,
        "spared_share": None,
        "spearman": None,
        "topk_recall": None,
        "duration_s": 0.75,
        "energy_j": 7.5,
        "energy_source": "cpu_model",
        "estimated": True,
    }


def fill(folder: RunFolder, run_id: str) -> None:
    sink = folder.sink("gpt")
    for number in range(2):
        sink.append("evaluations", number, [evaluation(run_id, number, i) for i in range(3)])
        sink.append("generations", number, [generation(run_id, number)])
    shared = {"run_id": run_id, "seed": 1}
    energy = {"energy_j": 20.0, "energy_source": "cpu_model", "estimated": True, "duration_s": 2.0}
    folder.write_rows(
        "results",
        [
            {
                **shared,
                **energy,
                "model": model,
                "validation_loss": loss,
                "test_loss": loss,
                "ci_low": None,
                "ci_high": None,
                "block_ci_low": None,
                "block_ci_high": None,
                "perplexity": 2.7**loss,
                "bits_per_byte": None,
                "train_tokens": 1000,
                "test_tokens": 100,
                "test_documents": 4,
                "cpu_s": None,
                "scoring_j_per_token": None,
                "generation_j_per_token": None,
                "use_energy_source": None,
                "use_estimated": None,
                "test_blocks": 2,
                "stored_bytes": 10,
            }
            for model, loss in (("uniform", 9.0), ("gpt", 6.5), ("adamw", 6.7))
        ],
    )
    folder.write_rows(
        "energy",
        [
            {
                **shared,
                **energy,
                "stage": stage,
                "reason": None,
                "device": "cpu",
                "mean_power_w": 10.0,
                "reused": False,
            }
            for stage in ("library", "search")
        ],
    )
    folder.write_rows(
        "scores",
        [
            {
                **shared,
                "model": "gpt",
                "split": "test",
                "document": document,
                "block": document,
                "n_tokens": 50,
                "n_bytes": 200,
                "nll": 325.0,
            }
            for document in range(2)
        ],
    )
    config = {"seed": 1, "data": {"train_tokens": 1000}}
    folder.write_manifest({"run_id": run_id, "config": config})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for run_id in ("quick-0001", "quick-0002"):
        fill(RunFolder(tmp_path / "runs" / run_id), run_id)
    return tmp_path / "runs"


@pytest.fixture
def run(runs: Path) -> Run:
    return load_run(runs / "quick-0001")
