"""Using a run's models: `clso generate`, `clso export` and `clso score`."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

import clso.hub
from clso.artifacts import SCHEMAS, RunFolder
from clso.checkpoint import save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.mixture.model import CrystallineMixture
from pipelines.cli import main

BLOCK_SIZE = 16
# the unigram has no folder, and the network no validation loss
LOSSES = {"unigram": 1.0, "mixture": 3.0, "hybrid": 2.0, "adamw": None}


class Told(NamedTuple):
    status: int
    output: str
    error: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run a command as `clso` does and return its exit status and what it printed."""

    def run(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        output, error = capsys.readouterr()
        return Told(code if isinstance(code, int) else 0, output, " ".join(error.split()))

    return run


@pytest.fixture(scope="module")
def out(
    toy_mixture: CrystallineMixture,
    toy_hybrid: CrystallineMixture,
    toy_gpt2: GPT2LMHeadModel,
    toy_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An output folder with the run `toy-1`, which has models and results."""
    root = tmp_path_factory.mktemp("out")
    folder = RunFolder(root / "runs" / "toy-1")
    folder.write_manifest({"run_id": "toy-1"})
    toy_mixture.save(folder.model("mixture"), toy_tokenizer, block_size=BLOCK_SIZE)
    toy_hybrid.save(folder.model("hybrid"), toy_tokenizer, block_size=BLOCK_SIZE)
    save_gpt2(toy_gpt2, toy_tokenizer, folder.model("adamw"))
    folder.write_rows("results", [result(model, loss) for model, loss in LOSSES.items()])
    return root


def result(model: str, validation_loss: float | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMAS["results"].names)
    row |= {"run_id": "toy-1", "seed": 1, "model": model, "validation_loss": validation_loss}
    counts = {"test_tokens": 100, "test_documents": 2, "test_blocks": 10}
    return row | {"test_loss": 2.5, "perplexity": 12.2, **counts}


class TestGenerate:
    @pytest.mark.parametrize("model", ["mixture", "hybrid", "adamw"])
    def test_prints_a_prompt_longer_than_the_block_and_its_continuation(
        self, model: str, out: Path, run: Callable[..., Told], toy_tokenizer: Tokenizer
    ) -> None:
        prompt = "the “fox” loved the cat. Zoë ate a dog. the crow left the “fox”. the"
        assert len(toy_tokenizer.encode(prompt)) > BLOCK_SIZE
        command = ["generate", "toy", "--out", str(out), "--model", model, "--prompt", prompt]
        done = run(*command, "--max-tokens", "20")
        assert (done.status, done.error) == (0, "")
        assert done.output.startswith(prompt)
        assert len(done.output) > len(prompt) + 5
        assert done.output.endswith("\n")
        assert run(*command, "--max-tokens", "20").output == done.output
        assert run(*command, "--max-tokens", "20", "--seed", "2").output != done.output

    def test_a_temperature_of_0_does_not_depend_on_the_seed(
        self, out: Path, run: Callable[..., Told]
    ) -> None:
        command = ["generate", "toy", "--out", str(out), "--temperature", "0", "--prompt", "the"]
        assert run(*command).output == run(*command, "--seed", "7").output

    def test_the_best_model_on_validation_writes_unless_another_is_named(
        self, out: Path, run: Callable[..., Told]
    ) -> None:
        done = run("generate", "toy", "--out", str(out), "--max-tokens", "5")
        assert done.error == "hybrid of toy-1"
        named = run("generate", "toy", "--out", str(out), "--max-tokens", "5", "--model", "hybrid")
        assert named.output == done.output

    def test_a_sure_mixture_writes_the_text_s_own_characters(
        self, out: Path, run: Callable[..., Told]
    ) -> None:
        command = ["generate", "toy", "--out", str(out), "--model", "mixture", "--prompt", "Zo"]
        done = run(*command, "--temperature", "0.2", "--max-tokens", "60")
        assert "Zoë" in done.output
        assert "\N{REPLACEMENT CHARACTER}" not in done.output

    def test_text_comes_token_by_token(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []

        class Screen:
            def write(self, text: str) -> None:
                written.append(text)

            def flush(self) -> None:
                written.append("flush")

            def isatty(self) -> bool:
                return False

        monkeypatch.setattr(sys, "stdout", Screen())
        with pytest.raises(SystemExit):
            main(["generate", "toy", "--out", str(out), "--prompt", "a dog", "--max-tokens", "9"])
        assert written[:2] == ["a dog", "flush"]
        assert written.count("flush") >= 5
        assert written[-2] == "\n"

    def test_an_interruption_ends_the_line_and_says_so_by_its_status(
        self, out: Path, run: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("pipelines.generate.continue_text", interrupted)
        done = run("generate", "toy", "--out", str(out))
        assert (done.status, done.output) == (130, "\n")

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--model", "weather"], "no model 'weather' it has adamw, hybrid, mixture"),
            (["--model", ""], "no model ''"),
            (["--model", "../models/adamw"], "no model '../models/adamw'"),
            (["--temperature", "-1"], "temperature is -1.0, expected 0 or more"),
            (["--temperature", "nan"], "temperature is nan"),
            (["--top-p", "0"], "top p is 0.0, expected a share above 0"),
            (["--max-tokens", "0"], "max tokens is 0, expected 1 or more"),
            (["--seed", "-1"], "seed is -1"),
            (["--prompt", "a\udcff"], "the prompt's character 2 is no text"),
        ],
    )
    def test_mistakes_are_told(
        self, options: list[str], expected: str, out: Path, run: Callable[..., Told]
    ) -> None:
        done = run("generate", "toy", "--out", str(out), *options)
        assert (done.status, done.output) == (2, "")
        assert expected in done.error

    def test_a_run_without_models_or_results_is_told(
        self, out: Path, run: Callable[..., Told], tmp_path: Path
    ) -> None:
        copy = shutil.copytree(out / "runs" / "toy-1", tmp_path / "copy")
        (copy / "results.parquet").unlink()
        done = run("generate", str(copy))
        assert done.status == 2
        assert "which of its models is the best" in done.error
        assert "--model: it has adamw, hybrid, mixture" in done.error
        for model in ("hybrid", "adamw"):
            shutil.rmtree(copy / "models" / model)
        assert run("generate", str(copy), "--max-tokens", "1").error == "mixture of toy-1"
        (copy / "models" / "mixture" / "tokenizer.json").unlink()
        assert "tokenizer.json does not exist" in run("generate", str(copy)).error
        shutil.rmtree(copy / "models")
        done = run("generate", str(copy))
        assert done.status == 2
        assert "its search and its baseline are not finished" in done.error


class TestExport:
    @pytest.mark.parametrize("model", ["mixture", "hybrid", "adamw"])
    def test_a_checkpoint_is_copied_and_how_to_load_it_said(
        self, model: str, out: Path, run: Callable[..., Told], tmp_path: Path
    ) -> None:
        command = ["export", "toy", "--out", str(out), "--to", str(tmp_path / "new")]
        done = run(*command, "--model", model)
        assert done.status == 0, done.error
        assert ("trust_remote_code" in done.output) == (model != "adamw")
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
        assert isinstance(loaded, clso.hub.CrystallineMixtureForCausalLM) == (model != "adamw")
        assert "exists already" in run(*command, "--model", model).error

    def test_a_damaged_mixture_is_not_exported(
        self, out: Path, run: Callable[..., Told], tmp_path: Path
    ) -> None:
        copy = shutil.copytree(out / "runs" / "toy-1", tmp_path / "copy")
        weights = copy / "models" / "mixture" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        done = run("export", str(copy), "--model", "mixture", "--to", str(tmp_path / "new"))
        assert done.status == 1
        assert "model.safetensors is damaged" in done.error
        assert not (tmp_path / "new").exists()

    def test_each_plain_n_gram_function_is_an_arpa_file(
        self, out: Path, run: Callable[..., Told], tmp_path: Path, toy_tokenizer: Tokenizer
    ) -> None:
        target = tmp_path / "ngrams"
        command = ["export", "toy", "--out", str(out), "--to", str(target), "--format", "arpa"]
        done = run(*command, "--model", "mixture")
        assert done.status == 0, done.error
        assert sorted(path.name for path in target.iterdir()) == ["2-gram.arpa", "3-gram.arpa"]
        text = (target / "3-gram.arpa").read_text(encoding="utf-8")
        assert f"ngram 1={toy_tokenizer.vocab_size + 3}\n" in text
        words = [line.split("\t")[1] for line in text.splitlines() if line.count("\t")]
        assert "Ġthe" in words
        assert "lies in the run itself" in run(
            "export", "toy", "--out", str(out), "--format", "arpa", "--model", "mixture",
            "--to", str(out / "runs" / "toy-1" / "new"),
        ).error  # fmt: skip

    def test_what_has_no_plain_n_grams_is_told(
        self, out: Path, run: Callable[..., Told], tmp_path: Path,
        toy_mixture: CrystallineMixture, toy_tokenizer: Tokenizer,
    ) -> None:  # fmt: skip
        command = ["export", "--format", "arpa", "--to", str(tmp_path / "new"), "--out"]
        done = run(*command, str(out), "toy", "--model", "adamw")
        assert done.status == 2
        assert "adamw is no mixture" in done.error
        folder = RunFolder(tmp_path / "runs" / "pointers-1")
        folder.write_manifest({"run_id": "pointers-1"})
        weights = toy_mixture.weights
        pointers = CrystallineMixture(
            "mixture",
            toy_mixture.functions[-2:],
            type(weights)(weights.shared[:3], weights.table[:, :3]),
            toy_mixture.bucketing,
            toy_mixture.history,
            toy_mixture.vocab_size,
        )
        pointers.save(folder.model("mixture"), toy_tokenizer, block_size=BLOCK_SIZE)
        done = run(*command, str(tmp_path), "pointers", "--model", "mixture")
        assert done.status == 2
        assert "only uniform, cache(8), induction(1)" in done.error
        assert not (tmp_path / "new").exists()


class TestScore:
    def test_prints_the_loss_and_the_costliest_tokens(
        self, out: Path, run: Callable[..., Told], tmp_path: Path
    ) -> None:
        file = tmp_path / "text.jsonl.gz"
        rows = [{"story": "the cat ate a dog."}, {"story": "the dog loved a quark."}]
        with gzip.open(file, "wt") as stream:
            stream.writelines(f"{json.dumps(row)}\n" for row in rows)
        command = ["score", "toy", str(file), "--out", str(out), "--text-field", "story"]
        done = run(*command, "--model", "mixture", "--costliest", "2")
        assert done.status == 0
        assert "text.jsonl.gz by mixture of toy-1" in done.output
        assert "bits per byte" in done.output
        assert "of 40 bytes" in done.output
        assert done.output.count("[") == 2

    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            ("none.txt", None, "none.txt is no file name a file of text"),
            ("blank.txt", b" \n", "blank.txt holds only whitespace"),
            ("binary.txt", b"\xff\xfe\x00", "is no UTF-8"),
            ("rows.jsonl", b'{"story": "a"}\n', "no field 'text'"),
        ],
    )
    def test_mistakes_are_told(
        self,
        name: str,
        content: bytes | None,
        expected: str,
        out: Path,
        run: Callable[..., Told],
        tmp_path: Path,
    ) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        done = run("score", "toy", str(tmp_path / name), "--out", str(out), "--model", "mixture")
        assert done.status == 2
        assert expected in done.error
