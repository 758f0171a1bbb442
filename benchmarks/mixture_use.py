"""A mixture in use beside a GPT-2 of the quick run's shape, and beside KenLM.

Beside GPT-2: full distributions, and generation. Beside KenLM: the prices of given tokens, by the
5-gram that KenLM reads from our ARPA file, and by the mixture.

The mixture has the functions that the quick run has found, counted on a part of the King James
text. Their weights are all equal, which changes the predictions but not the work.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from benchmarks.stand_ins import Stream
from benchmarks.timing import Comparison, in_turn
from clso.data.corpus import PackageCorpus
from clso.data.tokenizer import Tokenizer
from clso.hub import CrystallineMixtureConfig, CrystallineMixtureForCausalLM
from clso.mixture.buckets import Bucketing
from clso.mixture.classes import fit_class_maps
from clso.mixture.counts import KneserNey, write_arpa
from clso.mixture.history import HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.mixture.text import FittingText
from clso.mixture.weights import MixtureWeights
from clso.scoring import Int64Array

_FUNCTIONS = (
    *("kn(1,2)", "kn(1,3)", "kn(1,2,4)", "kn(2,3,4)", "kn(1,2:k32)", "kn(1,2:k64,3:k64)"),
    *("kn(1,2:k128.1,3:k128.1)", "kn(1,2,3:s64)", "kn(1:s64,2:s64,3:s64,4:s64)"),
    *("kn(1,2,3:s64,4:s64)", "kn(1,2:k32,3:k32->k32)", "kn(1:k128.1,2:k128.1,3:k128.1->k128.1)"),
    *("kn(1,2->k256)", "kn(1,2->s64)", "kn(1,2,3:s64->s64)", "kn(1->s128)", "kn(1,2:s128->s128)"),
    *("cache(4,idf=0.6)", "induction(1)", "induction(1,decay=1)", "induction(2,decay=0.8)"),
    *("product(k256,via=k128)", "product(k128.1)", "loglinear(k128)"),
)
_BUCKETING = "longest*match"
_TRAIN_TOKENS, _LENGTH, _BLOCKS, _PROMPT, _CONTINUED = 110_000, 128, 4, 32, 64
_PRICED = 400 * _LENGTH


def run() -> list[Comparison]:
    transformers.logging.set_verbosity_error()
    pieces = PackageCorpus(PackageCorpus.Settings()).read("train")
    texts = [piece.text for piece in islice(pieces, 20_000)]
    learned = Tokenizer.train(texts, 8192)
    return [
        comparison
        for tokenizer in (learned, Tokenizer.from_gpt2())
        for comparison in _compare(tokenizer, texts)
    ]


def _compare(tokenizer: Tokenizer, texts: list[str]) -> list[Comparison]:
    encoded = [token for text in tokenizer.encode_many(texts) for token in text]
    priced = np.array(encoded[_TRAIN_TOKENS : _TRAIN_TOKENS + _PRICED + 1], dtype=np.int64)
    tokens = np.array(encoded[: _TRAIN_TOKENS + _BLOCKS * _LENGTH], dtype=np.int64)
    mixture = _mixture(tokenizer, tokens[:_TRAIN_TOKENS])
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=tokenizer.vocab_size,
            n_positions=_LENGTH,
            n_embd=128,
            n_layer=2,
            n_head=2,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    blocks = torch.from_numpy(tokens[_TRAIN_TOKENS:].reshape(_BLOCKS, _LENGTH))
    vocabulary = f"{tokenizer.vocab_size:,} tokens"
    scored = in_turn(
        f"log p of all tokens at {_BLOCKS * _LENGTH} positions, {vocabulary}",
        ("a mixture's forward", lambda: mixture(blocks).logits),
        ("GPT-2's forward, log_softmax", lambda: gpt2(blocks).logits.log_softmax(-1)),
        repeats=9,
    )
    continued = in_turn(
        f"generate {_CONTINUED} tokens, {vocabulary}",
        ("a mixture's generate", _generation(mixture, blocks)),
        ("GPT-2's generate, with its cache", _generation(gpt2, blocks)),
        repeats=9,
    )
    five_gram = _five_gram(tokens[:_TRAIN_TOKENS], tokenizer.vocab_size)
    return [scored, continued, *_beside_kenlm(mixture.mixture, five_gram, priced, vocabulary)]


def _five_gram(tokens: Int64Array, vocab_size: int) -> KneserNey:
    (function,) = KneserNey.fit(FittingText([Stream(tokens)], vocab_size, {}), ["kn(1,2,3,4)"])
    return function


def _beside_kenlm(
    mixture: CrystallineMixture, five_gram: KneserNey, tokens: Int64Array, vocabulary: str
) -> list[Comparison]:
    try:
        import kenlm
    except ImportError:
        print("no comparison with KenLM: install clso[test], which has its module")
        return []
    inputs, targets = (part.reshape(-1, _LENGTH) for part in (tokens[:-1], tokens[1:]))
    sentences = [" ".join(f"t{token}" for token in block) for block in targets]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.arpa"
        write_arpa(five_gram, path)
        config = kenlm.Config()
        config.show_progress = False
        theirs = kenlm.Model(str(path), config)

    def kenlm_prices() -> list[float]:
        return [theirs.score(sentence, bos=False, eos=False) for sentence in sentences]

    what = f"price {targets.size:,} given tokens, {vocabulary}"
    kenlm_side = "KenLM, the 5-gram", kenlm_prices
    return [
        in_turn(
            what,
            ("our 5-gram, one function", lambda: five_gram.target_probabilities(inputs, targets)),
            kenlm_side,
            repeats=9,
        ),
        in_turn(
            what,
            (f"a mixture of {len(_FUNCTIONS)}", lambda: mixture.token_nll(inputs, targets)),
            kenlm_side,
            repeats=9,
        ),
    ]


def _generation(model: PreTrainedModel, blocks: torch.Tensor) -> Callable[[], object]:
    prompt = blocks[:1, :_PROMPT]
    options = {"max_new_tokens": _CONTINUED, "min_new_tokens": _CONTINUED, "do_sample": False}

    def generate() -> object:
        mask = torch.ones_like(prompt)
        made = model.generate(prompt, attention_mask=mask, pad_token_id=0, **options)  # type: ignore[operator]  # transformers leaves it untyped
        assert made.shape[1] == _PROMPT + _CONTINUED
        return made

    return torch.inference_mode()(generate)


def _mixture(tokenizer: Tokenizer, tokens: Int64Array) -> CrystallineMixtureForCausalLM:
    size, streams = tokenizer.vocab_size, [Stream(tokens)]
    specs = [FunctionSpec.parse(name) for name in _FUNCTIONS]
    names = sorted(frozenset[str]().union(*(spec.settings.class_names for spec in specs)))
    maps = fit_class_maps(streams, size, names, seed=0, token_texts=tokenizer.token_texts)
    functions = fit_functions(_FUNCTIONS, streams, size, maps)
    n_buckets = Bucketing(_BUCKETING).n_buckets
    table = np.full((n_buckets, 1 + len(functions)), 1 / (1 + len(functions)))
    model = CrystallineMixture(
        "mixture",
        functions,
        MixtureWeights(table[0], table),
        _BUCKETING,
        HistoryCounts.fit(streams, size),
        size,
    )
    config = CrystallineMixtureConfig(vocab_size=size, n_positions=_LENGTH)
    return CrystallineMixtureForCausalLM(config, model)
