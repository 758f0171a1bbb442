"""Models of a run in `transformers`: the same probabilities, and text by its `generate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

import clso.hub
from clso.artifacts import CHECKSUMS
from clso.baseline.network_model import NetworkModel
from clso.checkpoint import MODEL_CODE, save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, DamageError
from clso.generation import Sampling
from clso.mixture.model import CrystallineMixture
from clso.models import StoredModel

BLOCK_SIZE = 16
PROMPT = "the cat saw a d"


@pytest.fixture(scope="session")
def folders(
    toy_mixture: CrystallineMixture,
    toy_hybrid: CrystallineMixture,
    toy_gpt2: GPT2LMHeadModel,
    toy_network: NetworkModel,
    toy_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    root = tmp_path_factory.mktemp("models")
    toy_mixture.save(root / "mixture", toy_tokenizer, block_size=BLOCK_SIZE)
    toy_hybrid.save(root / "hybrid", toy_tokenizer, block_size=BLOCK_SIZE)
    save_gpt2(toy_gpt2, toy_tokenizer, root / "adamw")
    toy_network.save(root / "opponent", toy_tokenizer)
    return root


@pytest.fixture
def mixture(folders: Path) -> clso.hub.CrystallineMixtureForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(folders / "mixture")
    assert isinstance(model, clso.hub.CrystallineMixtureForCausalLM)
    return model


@pytest.fixture
def tokens(toy_tokenizer: Tokenizer) -> torch.Tensor:
    rng = np.random.default_rng(2)
    return torch.from_numpy(rng.integers(0, toy_tokenizer.vocab_size, (3, BLOCK_SIZE)))


def log_probabilities(model: CrystallineMixture, tokens: torch.Tensor) -> np.ndarray:
    return np.log(model.probabilities(tokens.numpy()))


@pytest.mark.parametrize("name", ["mixture", "hybrid"])
def test_logits_are_the_model_s_log_probabilities(
    name: str, folders: Path, tokens: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders / name)
    logits = model(tokens).logits
    assert logits.dtype == torch.float32
    expected = log_probabilities(request.getfixturevalue(f"toy_{name}"), tokens)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(logits.exp().sum(-1).numpy(), 1.0, atol=1e-5)


def test_a_network_runs_and_generates(
    folders: Path, toy_network: NetworkModel, tokens: torch.Tensor
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders / "opponent")
    assert isinstance(model, clso.hub.NetworkForCausalLM)
    expected = np.log(toy_network.probabilities(tokens.numpy()))
    np.testing.assert_allclose(model(tokens).logits.numpy(), expected, atol=1e-5)
    nll = toy_network.token_nll(tokens[:, :-1].numpy(), tokens[:, 1:].numpy())
    assert model(tokens, labels=tokens).loss.item() == pytest.approx(nll.mean(), rel=1e-5)
    text = model.generate(tokens[:1, :4], max_new_tokens=3, do_sample=False)
    following = [
        int(toy_network.distribution(text[0, :length].numpy()).argmax()) for length in (4, 5)
    ]
    assert text[0, 4:6].tolist() == following
    with pytest.raises(ValueError, match="a network has arrays, which no configuration holds"):
        clso.hub.NetworkForCausalLM(model.config)


def test_the_loss_is_the_mean_of_nll_shifted_and_leaves_out_minus_100(
    mixture: clso.hub.CrystallineMixtureForCausalLM,
    toy_mixture: CrystallineMixture,
    tokens: torch.Tensor,
) -> None:
    nll = toy_mixture.token_nll(tokens[:, :-1].numpy(), tokens[:, 1:].numpy())
    assert mixture(tokens, labels=tokens).loss.item() == pytest.approx(nll.mean(), rel=1e-6)
    labels = tokens.clone()
    labels[:, :8] = -100
    assert mixture(tokens, labels=labels).loss.item() == pytest.approx(nll[:, 7:].mean(), rel=1e-6)
    with pytest.raises(ValueError, match="labels need the logits of all positions"):
        mixture(tokens, labels=tokens, logits_to_keep=1)


def test_only_the_wanted_positions_are_computed(
    mixture: clso.hub.CrystallineMixtureForCausalLM,
    tokens: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = mixture(tokens).logits
    asked: list[tuple[int, int]] = []
    write = mixture.mixture.write_log_probabilities

    def recorded(history: np.ndarray, rows: np.ndarray) -> None:
        asked.append((len(history), len(rows)))
        write(history, rows)

    monkeypatch.setattr(mixture.mixture, "write_log_probabilities", recorded)
    torch.testing.assert_close(mixture(tokens, logits_to_keep=2).logits, whole[:, -2:])
    assert asked == [(BLOCK_SIZE, 2)] * 3
    chosen = torch.tensor([4, 1])
    torch.testing.assert_close(mixture(tokens, logits_to_keep=chosen).logits, whole[:, chosen])
    assert asked[3:] == [(5, 1), (2, 1)] * 3
    assert mixture(tokens, return_dict=False)[0].shape == whole.shape


def test_of_a_long_text_the_last_tokens_are_seen(
    mixture: clso.hub.CrystallineMixtureForCausalLM, tokens: torch.Tensor
) -> None:
    long = torch.cat([tokens[:1], tokens[1:2]], dim=1)
    logits = mixture(long).logits
    assert torch.equal(logits[:, :BLOCK_SIZE], mixture(tokens[:1]).logits)
    assert torch.equal(logits[:, -1], mixture(tokens[1:2]).logits[:, -1])


def test_padding_is_not_seen(
    mixture: clso.hub.CrystallineMixtureForCausalLM, tokens: torch.Tensor
) -> None:
    whole = mixture(tokens).logits
    mask = torch.ones_like(tokens)
    padded = tokens.clone()
    padded[0, :4] = 7
    mask[0, :4] = 0
    expected = mixture(tokens[:1, 4:]).logits[0]
    logits = mixture(padded, attention_mask=mask).logits
    assert torch.equal(logits[0, 4:], expected)
    assert torch.equal(logits[1:], whole[1:])
    np.testing.assert_allclose(logits[0, :4].exp().numpy(), 1 / whole.shape[-1], rtol=1e-5)
    mask = torch.ones_like(tokens)
    mask[0, -4:] = 0
    assert torch.equal(mixture(tokens, attention_mask=mask).logits[0, :-4], whole[0, :-4])
    mask[0, -1] = 1
    with pytest.raises(ValueError, match="a gap inside a text"):
        mixture(tokens, attention_mask=mask)
    with pytest.raises(ValueError, match=r"attention_mask is \(3, 15\), expected \(3, 16\)"):
        mixture(tokens, attention_mask=mask[:, 1:])


class TestGenerate:
    @pytest.mark.parametrize("name", ["mixture", "hybrid", "adamw"])
    def test_greedy_text_is_that_of_clso_generate(self, name: str, folders: Path) -> None:
        stored = StoredModel.load(folders / name)
        prompt = stored.tokenizer.encode(PROMPT)
        ours = Sampling(max_tokens=9, temperature=0.0).generate(
            stored.model,
            prompt,
            n_positions=stored.n_positions,
            end_token_id=stored.tokenizer.end_token_id,
        )
        model = AutoModelForCausalLM.from_pretrained(folders / name)
        tokenizer = AutoTokenizer.from_pretrained(folders / name)
        inputs = tokenizer(PROMPT, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == prompt
        room = min(9, BLOCK_SIZE - len(prompt)) if name == "adamw" else 9
        text = model.generate(**inputs, max_new_tokens=room, do_sample=False)
        assert text[0, len(prompt) :].tolist() == list(ours)[:room]

    @pytest.mark.parametrize("name", ["mixture", "hybrid", "adamw"])
    def test_a_batch_padded_on_the_left_is_its_texts_one_by_one(
        self, name: str, folders: Path
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(folders / name)
        tokenizer = AutoTokenizer.from_pretrained(folders / name)
        prompts = ["the cat", "the dog saw", "a"]
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        assert batch["attention_mask"][0, 0] == 0
        together = model.generate(**batch, max_new_tokens=5, do_sample=False)
        for row, prompt in zip(together, prompts, strict=True):
            inputs = tokenizer(prompt, return_tensors="pt")
            alone = model.generate(**inputs, max_new_tokens=5, do_sample=False)
            assert row[-5:].tolist() == alone[0, -5:].tolist()

    def test_sampling_is_seeded_and_stays_in_the_nucleus(
        self, mixture: clso.hub.CrystallineMixtureForCausalLM, tokens: torch.Tensor
    ) -> None:
        def drawn(seed: int) -> torch.Tensor:
            torch.manual_seed(seed)
            options = {"do_sample": True, "temperature": 1.5, "top_p": 0.9, "max_new_tokens": 8}
            return mixture.generate(tokens, **options)

        assert torch.equal(drawn(1), drawn(1))
        assert not torch.equal(drawn(1), drawn(2))

    def test_beams_and_a_wish_for_a_cache_are_served(
        self, mixture: clso.hub.CrystallineMixtureForCausalLM, tokens: torch.Tensor
    ) -> None:
        plain = mixture.generate(tokens, max_new_tokens=4)
        assert torch.equal(mixture.generate(tokens, max_new_tokens=4, use_cache=True), plain)
        beams = mixture.generate(tokens, max_new_tokens=4, num_beams=2)
        assert beams.shape[0] == len(tokens)
        with pytest.raises(ValueError, match="not used by the model"):
            mixture.generate(tokens, max_new_tokens=4, weather="fine")


@pytest.mark.parametrize("name", ["mixture", "hybrid", "opponent"])
def test_save_pretrained_round_trip(
    name: str, folders: Path, tokens: torch.Tensor, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders / name)
    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    model.config.pad_token_id = 1
    model.generation_config.max_new_tokens = 3
    tokenizer.save_pretrained(tmp_path / "saved")
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path, subfolder="saved")
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    assert again.config.pad_token_id == 1
    assert again.generate(tokens).shape == (3, BLOCK_SIZE + 3)
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    kind = "NetworkConfig" if name == "opponent" else "CrystallineMixtureConfig"
    assert written["auto_map"]["AutoConfig"] == f"modeling_clso.{kind}"
    assert (tmp_path / "saved" / "modeling_clso.py").read_bytes() == MODEL_CODE.read_bytes()
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")(PROMPT) == tokenizer(PROMPT)
    stored = StoredModel.load(tmp_path / "saved")
    assert stored.n_positions == BLOCK_SIZE
    with pytest.raises(ValueError, match="push_to_hub"):
        model.save_pretrained(tmp_path / "saved", push_to_hub=True)


@pytest.mark.parametrize("name", ["mixture", "adamw", "opponent"])
def test_the_end_token_pads(name: str, folders: Path, toy_tokenizer: Tokenizer) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    config = AutoConfig.from_pretrained(folders / name)
    end = toy_tokenizer.end_token_id
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == config.pad_token_id == end
    assert len(tokenizer) == toy_tokenizer.vocab_size


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"inputs_embeds": torch.zeros(3, 16, 4)}, "inputs_embeds: it has no embeddings"),
        ({"past_key_values": ()}, "past_key_values: it keeps no cache; give the whole text"),
        ({"output_hidden_states": True}, "output_hidden_states: it has no hidden states"),
        ({"output_attentions": True}, "output_attentions: it has no attention"),
    ],
)
def test_what_a_mixture_cannot_follow_is_refused(
    mixture: clso.hub.CrystallineMixtureForCausalLM,
    tokens: torch.Tensor,
    arguments: dict[str, object],
    reason: str,
) -> None:
    with pytest.raises(ValueError, match=f"a mixture cannot follow {reason}"):
        mixture(tokens, **arguments)
    (name,) = arguments
    mixture(tokens[:, :2], **{name: None})


def test_arguments_without_effect_are_taken_and_unknown_ones_and_tokens_refused(
    mixture: clso.hub.CrystallineMixtureForCausalLM, tokens: torch.Tensor
) -> None:
    short = tokens[:, :3]
    places = torch.arange(3).expand(3, 3)
    taken = {"use_cache": True, "position_ids": places, "token_type_ids": places}
    assert torch.equal(mixture(short, **taken).logits, mixture(short).logits)
    mean = mixture(short, labels=short).loss
    halved = mixture(short, labels=short, num_items_in_batch=torch.tensor(12)).loss
    assert halved.item() == pytest.approx(mean.item() / 2, rel=1e-6)
    with pytest.raises(TypeError, match="has no argument 'weather'"):
        mixture(short, weather="fine")
    with pytest.raises(ValueError, match=r"input_ids is \(3,\), expected \(texts, tokens\)"):
        mixture(short[:, 0])
    with pytest.raises(ValueError, match="to 290, expected tokens from 0 to 289"):
        mixture(torch.tensor([[0, 290]]))
    with pytest.raises(ValueError, match="open a folder with from_pretrained"):
        AutoModelForCausalLM.from_config(mixture.config)


def test_a_mixture_has_no_parameters_and_takes_any_device_and_type(
    folders: Path, tokens: torch.Tensor
) -> None:
    options = {"dtype": torch.bfloat16, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(folders / "mixture", **options)
    assert model.num_parameters() == 0
    assert not model.training
    assert model.device == torch.device("cpu")
    assert model.to("meta").device == torch.device("meta")
    assert model(tokens).logits.dtype == model.dtype == torch.float32
    assert model.can_generate()


def test_a_folder_that_is_damaged_or_none_is_told(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders / "mixture" / "config.json").read_bytes())
    with pytest.raises(ArtifactError, match="holds no mixture"):
        AutoModelForCausalLM.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ArtifactError, match="holds a model of type 'bert', expected 'gpt2'"):
        StoredModel.load(tmp_path)


@pytest.mark.parametrize("name", ["mixture", "hybrid", "opponent"])
def test_a_changed_file_is_refused_by_name_until_a_program_saves_over_it(
    name: str, folders: Path, tokens: torch.Tensor, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders / name)
    folder = shutil.copytree(folders / name, tmp_path / "copy")
    for file in ("model.safetensors", "tokenizer.json", "config.json", CHECKSUMS):
        content = (folder / file).read_bytes()
        # in the config a space, which `transformers` itself cannot notice
        changed = content + b" " if file == "config.json" else content[:-9] + b"8" + content[-8:]
        (folder / file).write_bytes(changed)
        with pytest.raises(DamageError, match=file):
            AutoModelForCausalLM.from_pretrained(folder)
        (folder / file).write_bytes(content)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    with pytest.raises(DamageError, match=r"tokenizer_config\.json") as caught:
        AutoModelForCausalLM.from_pretrained(folder)
    assert "if a program of yours has changed it on purpose" in caught.value.remedy
    model.save_pretrained(folder)
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(again(tokens).logits, model(tokens).logits)


def test_a_tokenizer_of_another_size_is_told(
    toy_mixture: CrystallineMixture, tmp_path: Path
) -> None:
    other = Tokenizer.train(["a rose is a rose"], 258)
    toy_mixture.save(tmp_path / "odd", other, block_size=BLOCK_SIZE)
    with pytest.raises(ArtifactError, match="has 290 tokens, its tokenizer 258"):
        StoredModel.load(tmp_path / "odd")


def test_the_config_says_what_the_model_is(folders: Path) -> None:
    config = AutoConfig.from_pretrained(folders / "hybrid")
    assert config.model_type == "clso_mixture"
    assert config.architectures == ["CrystallineMixtureForCausalLM"]
    assert (config.name, config.n_positions) == ("hybrid", BLOCK_SIZE)
    assert config.functions[-1]["spec"]["name"] == "neural(adamw)"


def test_a_name_on_the_hub_opens_what_its_cache_holds(
    folders: Path, tokens: torch.Tensor, tmp_path: Path
) -> None:
    cached = tmp_path / "models--me--my-hybrid"
    commit = "0123456789abcdef" * 2 + "01234567"
    shutil.copytree(folders / "hybrid", cached / "snapshots" / commit)
    for revision in ("main", "v1"):
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / revision).write_text(commit)
    options = {"cache_dir": tmp_path, "local_files_only": True}
    expected = AutoModelForCausalLM.from_pretrained(folders / "hybrid")(tokens).logits
    own = clso.hub.CrystallineMixtureForCausalLM
    for opened in (
        own.from_pretrained("me/my-hybrid", revision="v1", **options),
        AutoModelForCausalLM.from_pretrained("me/my-hybrid", **options),
    ):
        assert isinstance(opened, own)
        assert torch.equal(opened(tokens).logits, expected)


@pytest.mark.parametrize("name", ["me/nothing", "no such model", "/no/such/folder"])
def test_a_name_that_the_hub_does_not_give_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"{name} holds no mixture"):
        clso.hub.CrystallineMixtureForCausalLM.from_pretrained(
            name, cache_dir=tmp_path, local_files_only=True
        )
