"""A run whose search scores genomes in bfloat16."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clso.artifacts import Run, load_run
from clso.gpt import GptProblem

HAS_BFLOAT16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@pytest.mark.skipif(not HAS_BFLOAT16, reason="the processor has no units for bfloat16")
def test_a_search_in_bfloat16_says_so_and_its_finalists_have_losses_in_float32(
    out: Path,
    smoke: Run,
    smoke_yaml: str,
    invoke: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["families=[gpt]", "evaluation.precision=bfloat16", "name=rounded"]
    asked.append("search.finalists=3")
    told = []
    exact_losses = GptProblem.exact_losses

    def watched(self: GptProblem, genomes: list[tuple[int, ...]]) -> list[float | None]:
        plain = GptProblem(
            self.library,
            self.frame,
            self._inputs.numpy(),
            self._targets.numpy(),
            share_layers=self.share_layers,
        )
        told.extend(one.loss for one in plain.evaluate(genomes))
        return exact_losses(self, genomes)

    monkeypatch.setattr(GptProblem, "exact_losses", watched)
    sets = [part for value in asked for part in ("--set", value)]
    invoke("search", smoke_yaml, "--no-prefect", "--out", str(out), *sets)
    (path,) = (out / "runs").glob("rounded-*")
    run = load_run(path)
    assert run.manifest["evaluation"]["gpt"] == {"precision": "bfloat16"}
    assert smoke.manifest["evaluation"]["gpt"] == {"precision": "float32"}
    finalists = run.manifest["search"]["gpt"]["finalists"]
    assert sorted(one["search_loss"] for one in finalists) == sorted(told)
