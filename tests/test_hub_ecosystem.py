"""Exported models in Hugging Face's tools: `pipeline`, `Trainer`, `trust_remote_code`, lm-eval."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import GPT2LMHeadModel

from clso.baseline.model import AdamwGpt2
from clso.checkpoint import save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.gpt import GptShape
from clso.mixture.model import CrystallineMixture
from clso.models import StoredModel

pytestmark = pytest.mark.slow

BLOCK_SIZE = 16
TEXTS = ["the cat saw the dog and the crow. " * 3, "a bird sat, and then it sang: é", "the end"]


@pytest.fixture(scope="module")
def folders(
    toy_mixture: CrystallineMixture,
    toy_gpt2: GPT2LMHeadModel,
    toy_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    root = tmp_path_factory.mktemp("models")
    toy_mixture.save(root / "mixture", toy_tokenizer, block_size=BLOCK_SIZE)
    save_gpt2(toy_gpt2, toy_tokenizer, root / "gpt")
    return root


def python(code: str, home: Path, *arguments: str) -> str:
    """Run code in a process that has imported nothing yet, offline, with a cache of its own."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


PIPELINE = """
import sys
from transformers import pipeline
generate = pipeline("text-generation", model=sys.argv[1], trust_remote_code=True)
texts = ["the cat", "the dog saw"]
options = {"max_new_tokens": 4, "do_sample": False}
together = [out[0]["generated_text"] for out in generate(texts, batch_size=2, **options)]
assert together == [generate(text, **options)[0]["generated_text"] for text in texts], together
generate.model.save_pretrained(sys.argv[2])
print(type(generate.model).__name__, "clso.hub" in sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [("mixture", "CrystallineMixtureForCausalLM True"), ("gpt", "GPT2LMHeadModel False")],
)
def test_a_pipeline_opens_the_folder_and_continues_batches(
    name: str, told: str, folders: Path, tmp_path: Path
) -> None:
    done = python(PIPELINE, tmp_path, str(folders / name), str(tmp_path / "saved"))
    assert done.strip().endswith(told), done
    saved = sorted(path.name for path in (tmp_path / "saved").glob("*.py"))
    assert saved == (["modeling_clso.py"] if name == "mixture" else [])


def test_a_mixture_says_what_is_missing_where_clso_is_not_installed(
    folders: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.modules['clso'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        "AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)"
    )
    done = python(code, tmp_path, str(folders / "mixture"))
    assert "this is a model of CLSO, and the package clso" in done


def test_a_trainer_goes_on_with_an_exported_gpt(folders: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(folders / "gpt")
    model = AutoModelForCausalLM.from_pretrained(folders / "gpt")
    tokens = tokenizer(" ".join(TEXTS * 4))["input_ids"]
    blocks = [tokens[start : start + BLOCK_SIZE] for start in range(0, 96, BLOCK_SIZE)]
    data = [{"input_ids": block, "labels": block} for block in blocks]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trained"),
        max_steps=8,
        per_device_train_batch_size=3,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.1
    trainer.save_model(str(tmp_path / "trained"))
    tokenizer.save_pretrained(str(tmp_path / "trained"))
    assert StoredModel.load(tmp_path / "trained").n_positions == BLOCK_SIZE


def test_the_snippets_of_the_page_run(
    toy_mixture: CrystallineMixture, toy_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    shape = GptShape(
        n_layer=1, n_head=2, n_embd=16, block_size=64, vocab_size=toy_tokenizer.vocab_size
    )
    gpt = AdamwGpt2.new(shape, end_token_id=toy_tokenizer.end_token_id, seed=0).model
    save_gpt2(gpt, toy_tokenizer, tmp_path / "my-gpt")
    toy_mixture.save(tmp_path / "my-mixture", toy_tokenizer, block_size=64)
    page = (Path(__file__).parents[1] / "docs" / "huggingface.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(snippets) == 3
    done = python("\n".join(snippets), tmp_path)
    assert (tmp_path / "trained" / "final" / "model.safetensors").exists(), done
    assert done.count("In the beginning") == 2


def own_bits_per_byte(stored: StoredModel, texts: list[str]) -> float:
    """Score texts in lm-eval's windows of T tokens, the first after the end token.

    The last window of a text reaches back, so that its inputs are T tokens too. lm-eval's log
    probabilities are float32, so the digits of float32 agree.
    """
    nats = 0.0
    for text in texts:
        tokens = stored.tokenizer.encode(text)
        stream = np.array([stored.tokenizer.end_token_id, *tokens])
        scored = 0
        while scored < len(tokens):
            stop = min(scored + stored.n_positions, len(tokens))
            first = max(stop - stored.n_positions, 0)
            block = stream[None, first : stop + 1]
            nll = stored.model.token_nll(block[:, :-1], block[:, 1:])
            nats += float(nll[0, scored - first :].sum())
            scored = stop
    return nats / sum(len(text.encode()) for text in texts) / math.log(2)


@pytest.mark.parametrize("name", ["gpt", "mixture"])
def test_lm_eval_finds_the_same_bits_per_byte(
    name: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (tmp_path / "texts.jsonl").write_text(lines)
    (tmp_path / "own.yaml").write_text(TASK.format(texts=tmp_path / "texts.jsonl"))
    model = HFLM(pretrained=str(folders / name), trust_remote_code=True, device="cpu", batch_size=2)
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found: Any = simple_evaluate(model, tasks=["own_text"], task_manager=manager, bootstrap_iters=0)
    ours = own_bits_per_byte(StoredModel.load(folders / name), TEXTS)
    assert found["results"]["own_text"]["bits_per_byte,none"] == pytest.approx(ours, rel=1e-7)


TASK = """\
task: own_text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {texts}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: bits_per_byte
metadata: {{version: 1}}
"""
