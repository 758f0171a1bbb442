"""What every way of scoring a population keeps: exact or screened, any format and device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from moved import moved
from scipy.stats import spearmanr
from torch.utils._python_dispatch import TorchDispatchMode

from clso.errors import ConfigError
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.gpt.body import State
from clso.gpt.head import COLUMNS, TiledHead
from clso.gpt.precision import head_dtype
from clso.gpt.screening import EXACT, ScreeningHead
from clso.library import BasisLibrary

VOCAB_SIZE = 3000
HAS_BFLOAT16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
BFLOAT16 = pytest.mark.skipif(not HAS_BFLOAT16, reason="the processor has no units for bfloat16")


@dataclass(frozen=True)
class Way:
    device: str
    options: dict[str, object]
    largest_error: float
    screened: bool = False


WAYS = [
    pytest.param(Way("cpu", {}, 1e-5), id="float32"),
    pytest.param(Way("cpu", {"precision": "bfloat16"}, 1e-3), id="bfloat16", marks=BFLOAT16),
    pytest.param(Way("cpu", {"screening": True}, 1e-3, screened=True), id="screening"),
    pytest.param(Way("cuda", {}, 1e-5), id="float32 GPU", marks=CUDA),
    pytest.param(Way("cuda", {"precision": "auto"}, 1e-3), id="auto GPU", marks=CUDA),
    pytest.param(
        Way("cuda", {"screening": True}, 1e-3, screened=True), id="screening GPU", marks=CUDA
    ),
]
Genomes = list[tuple[int, ...]]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture(params=["tied", "unigram bias"])
def make(
    request: pytest.FixtureRequest, way: Way, library: BasisLibrary
) -> Callable[..., GptProblem]:
    log_unigram = None
    if request.param == "unigram bias":
        counts = 1.0 / np.arange(1, VOCAB_SIZE + 1)
        log_unigram = np.log(counts / counts.sum())
    shape = GptShape(2, 2, library.n_embd, 10, VOCAB_SIZE)
    frame = GptFrame(shape, seed=4, log_unigram=log_unigram, device=way.device)
    tokens = np.random.default_rng(0).integers(0, VOCAB_SIZE, (5, 3, 11))

    def build(**options: object) -> GptProblem:
        asked = {"share_layers": False, **way.options, **options}
        return GptProblem(library, frame, tokens[:, :, :-1], tokens[:, :, 1:], **asked)

    return build


def population(problem: GptProblem, n: int) -> Genomes:
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 3, len(problem.space)).tolist()) for _ in range(n)]


def losses(way: Way, problem: GptProblem, genomes: Genomes) -> list[float | None]:
    fidelity = problem.fidelities[0] if way.screened else 1.0
    return [evaluation.loss for evaluation in problem.evaluate(genomes, fidelity)]


def test_order_duplicates_and_company_do_not_change_a_bit(
    way: Way, make: Callable[..., GptProblem]
) -> None:
    problem = make()
    genomes = population(problem, 12)
    together = losses(way, problem, genomes)
    assert losses(way, problem, genomes[::-1]) == together[::-1]
    assert losses(way, problem, genomes * 2) == together * 2
    assert [losses(way, problem, [genome])[0] for genome in genomes] == together


def test_workers_a_full_cache_and_a_move_do_not_change_a_bit(
    way: Way, make: Callable[..., GptProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make()
    genomes = population(problem, 12)
    expected = losses(way, problem, genomes)
    assert losses(way, make(workers=3), genomes) == expected
    copy = moved(problem)
    assert (copy.fingerprint, copy.fidelities) == (problem.fingerprint, problem.fidelities)
    assert losses(way, copy, genomes) == expected
    monkeypatch.setattr("clso.gpt.evaluator._CACHE_BYTES", 0)
    assert losses(way, make(), genomes) == expected


def test_losses_are_near_those_of_the_models_and_exact_losses_are_theirs(
    way: Way, make: Callable[..., GptProblem]
) -> None:
    problem = make()
    genomes = population(problem, 12)
    exact = [
        problem.model(genome)
        .token_nll(
            *(part.flatten(0, 1).cpu().numpy() for part in (problem._inputs, problem._targets))
        )
        .mean()
        for genome in genomes
    ]
    scored = losses(way, problem, genomes)
    np.testing.assert_allclose(scored, exact, rtol=0, atol=way.largest_error)
    assert spearmanr(scored, exact).statistic > 0.99
    np.testing.assert_allclose(problem.exact_losses(genomes), exact, rtol=0, atol=1e-5)


def test_a_fingerprint_names_the_way(way: Way, make: Callable[..., GptProblem]) -> None:
    plain = make(precision="float32", screening=False)
    changes = way.screened or make().dtype != torch.float32
    assert (make().fingerprint != plain.fingerprint) == changes


class _Returned(TorchDispatchMode):
    """Counts what makes the host wait for a value of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        name = func.name()
        waits = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::bincount")
        to_host = name == "aten::_to_copy" and (kwargs or {}).get("device") == torch.device("cpu")
        self.count += name in waits or (to_host and args[0].device.type != "cpu")
        return func(*args, **(kwargs or {}))


def test_nothing_returns_to_the_host_while_a_population_is_walked(
    way: Way, make: Callable[..., GptProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, walk = make(), GptProblem._walk
    genomes = population(problem, 6)
    counts = []

    def counted(*args: object) -> torch.Tensor:
        with _Returned() as returned:
            sums = walk(*args)
        counts.append(returned.count)
        return sums

    monkeypatch.setattr(GptProblem, "_walk", counted)
    losses(way, problem, genomes)
    assert counts == [0] * 5
    with _Returned() as returned:
        float(torch.ones(1))
    assert returned.count == 1  # such a wait is seen


def test_the_states_in_memory_do_not_grow_with_the_population(
    way: Way, make: Callable[..., GptProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, step = make(), State.step
    made: list[weakref.ref[torch.Tensor]] = []

    def highest(n: int) -> int:
        most = 0

        def watched(self: State, *args: object, **kwargs: object) -> State:
            nonlocal most
            state = step(self, *args, **kwargs)
            made.append(weakref.ref(state.residual))
            most = max(most, len({id(one()) for one in made} - {id(None)}))
            return state

        monkeypatch.setattr(State, "step", watched)
        losses(way, problem, population(problem, n))
        return most

    assert 2 <= highest(64) <= 2 * 2 + 1  # two residuals a layer, and the new one


def test_a_loss_beyond_the_range_of_exp_is_exact(library: BasisLibrary) -> None:
    shape = GptShape(1, 2, library.n_embd, 10, VOCAB_SIZE)
    bias = np.linspace(-150.0, 150.0, VOCAB_SIZE)
    frame = GptFrame(shape, seed=4, log_unigram=bias)
    tokens = np.random.default_rng(0).integers(0, VOCAB_SIZE, (2, 3, 11))
    problem = GptProblem(library, frame, tokens[..., :-1], tokens[..., 1:], share_layers=False)
    (found,) = problem.evaluate([(0, 0, 0, 0)])
    nll = problem.model((0, 0, 0, 0)).token_nll(
        tokens[..., :-1].reshape(6, 10), tokens[..., 1:].reshape(6, 10)
    )
    assert found.loss == pytest.approx(nll.mean(), abs=1e-9)


def test_nothing_goes_on_from_a_screening(library: BasisLibrary) -> None:
    frame = GptFrame(GptShape(2, 2, library.n_embd, 10, VOCAB_SIZE), seed=4)
    tokens = np.random.default_rng(0).integers(0, VOCAB_SIZE, (5, 3, 11))
    problem = GptProblem(
        library, frame, tokens[..., :-1], tokens[..., 1:], share_layers=False, screening=True
    )
    genomes = population(problem, 3)
    assert problem.screening == problem.fidelities[0] < 0.2
    screened = problem.evaluate(genomes, problem.screening)
    assert all(len(found.batch_nats or ()) == 5 for found in screened)
    with pytest.raises(ValueError, match="not above that of the begun"):
        problem.extend(genomes, screened, problem.fidelities[1])
    begun = problem.evaluate(genomes, problem.fidelities[1])
    with pytest.raises(ValueError, match="goes on from no other"):
        problem.extend(genomes, begun, problem.screening)


def test_a_screening_that_saves_nothing_is_refused(
    library: BasisLibrary, batches: tuple[np.ndarray, np.ndarray], log_unigram: np.ndarray
) -> None:
    frame = GptFrame(GptShape(2, 2, library.n_embd, 10, 300), seed=4, log_unigram=log_unigram)
    with pytest.raises(ConfigError, match="saves nothing with a vocabulary of 300 tokens"):
        GptProblem(library, frame, *batches, share_layers=True, screening=True)


class TestPrecision:
    @pytest.fixture
    def cpu(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def has(*, amx: bool, avx512: bool) -> None:
            monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
            monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: avx512)

        return has

    @pytest.mark.parametrize(
        ("amx", "avx512", "expected"),
        [
            (True, True, torch.bfloat16),
            (False, True, torch.float32),
            (False, False, torch.float32),
        ],
    )
    def test_auto_is_bfloat16_where_it_is_faster(
        self, cpu: Callable[..., None], amx: bool, avx512: bool, expected: torch.dtype
    ) -> None:
        cpu(amx=amx, avx512=avx512)
        assert head_dtype("auto", torch.device("cpu")) == expected
        assert head_dtype("float32", torch.device("cpu")) == torch.float32

    def test_by_name_it_takes_any_units_and_is_refused_without(
        self, cpu: Callable[..., None]
    ) -> None:
        cpu(amx=False, avx512=True)
        assert head_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
        cpu(amx=False, avx512=False)
        with pytest.raises(ConfigError, match="this cpu device has no units for products"):
            head_dtype("bfloat16", torch.device("cpu"))


def _readout(scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(200, 16, generator=generator)
    hidden[:, -1] = 1.0
    weight = scale * torch.randn(2 * COLUMNS + 5, 16, generator=generator)
    bias = 0.5 * torch.randn(len(weight), generator=generator)
    weight[:, -1] = torch.log_softmax(bias, 0)
    targets = torch.randint(len(weight), (200,), generator=generator)
    return hidden, weight, targets


def test_a_bias_is_no_factor_of_a_product_in_bfloat16() -> None:
    hidden, weight, targets = _readout(0.02)
    exact = TiledHead(weight).nll(hidden, targets).mean()
    apart = TiledHead(weight, dtype=torch.bfloat16, has_bias=True).nll(hidden, targets).mean()
    inside = TiledHead(weight, dtype=torch.bfloat16).nll(hidden, targets).mean()
    assert abs(apart - exact) < 1e-5 < abs(inside - exact)


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_error_of_a_screening_falls_with_the_cube_of_the_logits(has_bias: bool) -> None:
    def error(scale: float) -> float:
        hidden, weight, targets = _readout(scale)
        if not has_bias:
            weight[:, -1] = 0.0
        head = TiledHead(weight)
        difference = ScreeningHead(head, has_bias=has_bias).nll(hidden, targets) - head.nll(
            hidden, targets
        )
        return float(difference.abs().mean())

    assert error(0.1) < error(0.2) / 5
    assert error(0.1) < 1e-2


def test_a_screening_of_few_tokens_is_exact() -> None:
    hidden, weight, targets = _readout(1.0)
    head = TiledHead(weight[:EXACT])
    few = targets % EXACT
    screened = ScreeningHead(head, has_bias=True).nll(hidden, few)
    torch.testing.assert_close(screened, head.nll(hidden, few), rtol=1e-6, atol=1e-5)
