"""A run whose library entries come from another package, from drawing to the loaded model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installed_package import install_package

from clso.artifacts import load_run
from clso.data import Dataset
from clso.mixture.model import CrystallineMixture

SETS = (
    "name=plugins",
    "families=[gpt, mixture]",
    "gpt.library.families=[{family: toeplitz, decay: 0.3}, {family: block_sparse}]",
    "mixture.slots=3",
    "mixture.search_tokens=1600",
    "mixture.library={patterns: [], class_maps: [], class_targets: [], class_patterns: [],"
    " exact: [], cache_half_lives: [], gated_maps: [], induction_lengths: [],"
    " functions: [echo(1), 'follow( weight=2 )']}",
    "mixture.search={population: 6, generations: 3, finalists: 1, surrogate: {kind: none}}",
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "clso.basis_functions": {
            "echo": "own_functions:Echo",
            "follow": "own_functions:Follow",
        },
        "clso.matrix_families": {"toeplitz": "own_matrices:Toeplitz"},
    }
    install_package(monkeypatch, tmp_path, "plugin-run", {}, points)


@pytest.mark.slow
@pytest.mark.usefixtures("package", "smoke")
def test_a_run_with_own_matrices_and_own_functions(
    out: Path, smoke_yaml: str, invoke: Callable[..., str]
) -> None:
    sets = [part for value in SETS for part in ("--set", value)]
    invoke("run", smoke_yaml, "--no-prefect", "--out", str(out), *sets)
    (path,) = (out / "runs").glob("plugins-*")
    run = load_run(path)
    losses = {row["model"]: row["test_loss"] for row in run.results.to_pylist()}
    assert list(losses) == [
        "uniform",
        "unigram",
        "bigram",
        "kneser_ney",
        "gpt",
        "mixture",
        "adamw",
        "hybrid",
    ]
    assert run.manifest["genes"]["gpt"][0]["families"] == [["toeplitz", 4], ["block_sparse", 4]]
    assert run.manifest["genes"]["mixture"][0]["families"][-1] == ["plain", 2]
    picked = run.manifest["best"]["mixture"]["functions"]
    assert "follow(weight=2)" in picked
    dataset = Dataset.load(out / "datasets" / run.manifest["data_fingerprint"], block_size=32)
    inputs, targets = dataset.splits["test"].blocks(slice(None))
    for name in ("mixture", "hybrid"):
        model = CrystallineMixture.load(path / "models" / name)
        assert set(picked) <= {function.name for function in model.functions}
        loss = model.token_nll(inputs, targets).mean()
        assert loss == pytest.approx(losses[name], rel=1e-9)
        assert model.distribution(inputs[0, :4]).sum() == pytest.approx(1.0)
    assert np.isfinite(list(losses.values())).all()
    invoke("pareto", smoke_yaml, "--no-prefect", "--family", "mixture", "--out", str(out), *sets)
    # the own functions are the last options of a slot; a mixture stores the table of `follow`
    # where it picks it, and then only
    n_functions = sum(n for _, n in run.manifest["genes"]["mixture"][0]["families"]) - 1
    table_bytes = dataset.tokenizer.vocab_size**2 * np.dtype(np.int32).itemsize
    rows = load_run(path).pareto.to_pylist()
    echoing, following = (
        [row for row in rows if option in row["genome"][:-1]]
        for option in (n_functions - 1, n_functions)
    )
    assert echoing
    assert following
    for row in rows:
        assert (row["stored_bytes"] > table_bytes) == (row in following)
    assert any(row["on_front"] for row in following)
