from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from drawn_families import family_settings
from moved import moved

from clso.energy import CpuModelMeter, EnergyMonitor
from clso.errors import ConfigError, DataError, GenomeError
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.library import FAMILIES, SLOTS, BasisLibrary, BlockSparse

Batches = tuple[np.ndarray, np.ndarray]
Make = Callable[..., GptProblem]


@pytest.fixture(params=[True, False], ids=["shared layers", "free layers"])
def make(
    request: pytest.FixtureRequest, library: BasisLibrary, frame: GptFrame, batches: Batches
) -> Make:
    def build(**options: object) -> GptProblem:
        return GptProblem(library, frame, *batches, share_layers=request.param, **options)

    return build


def population(problem: GptProblem, n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    # few options per gene, so that genomes share prefixes of every length
    return [tuple(rng.integers(0, 3, len(problem.space)).tolist()) for _ in range(n)]


def losses(problem: GptProblem, genomes: list[tuple[int, ...]], fidelity: float = 1.0) -> list:
    return [evaluation.loss for evaluation in problem.evaluate(genomes, fidelity)]


def test_loss_is_the_models_mean_nll(make: Make, batches: Batches) -> None:
    problem = make()
    genomes = population(problem, 12)
    inputs, targets = (part.reshape(-1, part.shape[-1]) for part in batches)
    for genome, loss in zip(genomes, losses(problem, genomes), strict=True):
        assert loss == pytest.approx(
            problem.model(genome).token_nll(inputs, targets).mean(), abs=1e-5
        )


def test_population_order_and_duplicates_do_not_change_a_bit(make: Make) -> None:
    problem = make()
    genomes = population(problem, 20)
    together = losses(problem, genomes)
    assert losses(problem, genomes[::-1]) == together[::-1]
    assert losses(problem, genomes * 2) == together * 2
    assert [losses(problem, [genome])[0] for genome in genomes] == together


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_workers_do_not_change_a_bit(make: Make, workers: int) -> None:
    genomes = population(make(), 16)
    assert losses(make(workers=workers), genomes) == losses(make(), genomes)
    assert losses(make(workers=workers), genomes[:1]) == losses(make(), genomes[:1])


def test_a_moved_problem_gives_the_same_losses_and_measures_with_its_own_monitor(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clso.energy.monitor._serving", None)  # a process without meters
    meters = EnergyMonitor([CpuModelMeter(10.0)])
    problem = make(workers=2, monitor=meters)
    genomes = population(problem, 4)
    expected = losses(problem, genomes)
    copy = moved(problem)
    assert copy.fingerprint == problem.fingerprint
    assert losses(copy, genomes) == expected
    assert losses(moved(copy), genomes, copy.fidelities[0]) == losses(
        problem, genomes, copy.fidelities[0]
    )
    assert not copy.evaluate(genomes[:1])[0].measurement.devices
    copy.monitor = meters
    assert copy.evaluate(genomes[:1])[0].measurement.devices


def test_a_full_cache_does_not_change_a_bit(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    genomes = population(make(), 8)
    cached = losses(make(), genomes)
    monkeypatch.setattr("clso.gpt.evaluator._CACHE_BYTES", 0)
    assert losses(make(), genomes) == cached


def test_threads_of_the_caller_do_not_change_a_bit_and_are_given_back(make: Make) -> None:
    problem, before = make(), torch.get_num_threads()
    genomes = population(problem, 4)
    expected = losses(problem, genomes)
    try:
        torch.set_num_threads(3)
        assert losses(problem, genomes) == expected
        assert losses(make(workers=2), genomes) == expected
        assert torch.get_num_threads() == 3
        with pytest.raises(GenomeError):
            problem.evaluate([(99,) * len(problem.space)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_fidelity_takes_the_first_batches(make: Make, batches: Batches) -> None:
    problem = make()
    assert problem.fidelities == (0.4, 0.6, 1.0)
    genomes = population(problem, 3)
    for fidelity, n_batches in ((0.4, 2), (0.6, 3), (1.0, 5)):
        found = problem.evaluate(genomes, fidelity)
        inputs, targets = (part[:n_batches].reshape(-1, part.shape[-1]) for part in batches)
        assert {evaluation.tokens for evaluation in found} == {targets.size}
        for genome, evaluation in zip(genomes, found, strict=True):
            expected = problem.model(genome).token_nll(inputs, targets).mean()
            assert evaluation.loss == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("n_batches", "fidelities"), [(1, (1.0,)), (2, (0.5, 1.0)), (4, (0.25, 0.5, 1.0))]
)
def test_fidelities_are_those_the_batches_allow(
    library: BasisLibrary,
    frame: GptFrame,
    batches: Batches,
    n_batches: int,
    fidelities: tuple[float, ...],
) -> None:
    few = [part[:n_batches] for part in batches]
    problem = GptProblem(library, frame, *few, share_layers=True)
    assert problem.fidelities == fidelities


def test_a_fidelity_that_is_not_offered_is_refused(make: Make) -> None:
    problem = make()
    with pytest.raises(ValueError, match=r"fidelity is 0\.3, expected one of \(0\.4"):
        problem.evaluate(population(problem, 1), 0.3)


def test_no_genomes_give_no_evaluations(make: Make) -> None:
    assert make().evaluate([]) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_going_on_from_a_lower_fidelity_changes_no_bit_and_scores_the_rest_only(
    make: Make, workers: int
) -> None:
    problem = make(workers=workers)
    genomes = population(problem, 6)
    begun = problem.evaluate(genomes, 0.4)
    tokens = begun[0].tokens
    for fidelity in (0.6, 1.0):
        at_once = problem.evaluate(genomes, fidelity)
        begun = problem.extend(genomes, begun, fidelity)
        assert [one.loss for one in begun] == [one.loss for one in at_once]
        assert [one.batch_nats for one in begun] == [one.batch_nats for one in at_once]
        tokens += begun[0].tokens
        assert tokens == at_once[0].tokens
    assert {one.batch_nats for one in begun} == {None}


def test_a_part_tells_its_batches(make: Make) -> None:
    problem = make()
    for one in problem.evaluate(population(problem, 3), 0.6):
        assert one.batch_nats is not None
        assert len(one.batch_nats) == 3
        assert sum(one.batch_nats) / one.tokens == pytest.approx(one.loss)


def test_what_cannot_be_gone_on_from_is_refused(make: Make) -> None:
    problem = make()
    genomes = population(problem, 2)
    half, whole = (problem.evaluate(genomes, fidelity) for fidelity in (0.6, 1.0))
    quarter = problem.evaluate(genomes, 0.4)
    with pytest.raises(ValueError, match="not above that of the begun"):
        problem.extend(genomes, half, 0.6)
    with pytest.raises(ValueError, match="not all of one lower fidelity"):
        problem.extend(genomes, whole, 1.0)
    with pytest.raises(ValueError, match="not all of one lower fidelity"):
        problem.extend(genomes, [half[0], quarter[1]], 1.0)


def test_losses_differ_between_genomes(make: Make) -> None:
    genomes = sorted(set(population(make(), 20)))
    assert len(set(losses(make(), genomes))) == len(genomes)


class StepMeter:
    """Gives 6 J more at every reading."""

    device, source, estimated = "cpu", "rapl", False

    def __init__(self) -> None:
        self.total_j = 0.0

    def read_j(self) -> float:
        self.total_j += 6.0
        return self.total_j


def test_a_calls_joules_and_seconds_are_shared_equally(make: Make) -> None:
    problem = make(monitor=EnergyMonitor([StepMeter()]))
    genomes = population(problem, 4)
    found = problem.evaluate(genomes)
    assert [evaluation.measurement.energy_j for evaluation in found] == [1.5] * 4
    assert {evaluation.measurement.energy_source for evaluation in found} == {"rapl"}
    assert len({evaluation.measurement.duration_s for evaluation in found}) == 1
    assert found[0].measurement.duration_s > 0


def test_without_a_meter_energy_is_not_measured_rather_than_zero(make: Make) -> None:
    problem = make()
    found = problem.evaluate(population(problem, 1))[0].measurement
    assert found.energy_j is None
    assert found.energy_source is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loss_that_is_no_number_fails_alone(
    library: BasisLibrary, frame: GptFrame, batches: Batches, workers: int
) -> None:
    entries = {slot: list(library[slot]) for slot in SLOTS}
    healthy = next(entry for entry in entries["mlp_down"] if isinstance(entry, BlockSparse))
    values = np.full_like(healthy.arrays["values"], np.nan)
    entries["mlp_down"][5] = BlockSparse(
        healthy.shape, healthy.parameters, {"blocks": healthy.arrays["blocks"], "values": values}
    )
    broken = BasisLibrary(library.n_embd, entries)
    problem = GptProblem(broken, frame, *batches, share_layers=True, workers=workers)
    fine, failed = problem.evaluate([(0, 0, 0, 0), (0, 0, 0, 5)])
    assert (failed.loss, failed.status) == (None, "failed")
    assert fine.status == "evaluated"
    assert [fine.loss] == losses(
        GptProblem(library, frame, *batches, share_layers=True), [(0, 0, 0, 0)]
    )


def test_an_error_in_a_worker_reaches_the_caller(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make(workers=2)
    before = torch.get_num_threads()

    def fail(self: object, slot: str, index: int) -> torch.Tensor:
        raise MemoryError("no room for a matrix")

    monkeypatch.setattr("clso.library.MatrixCache.weight", fail)
    with pytest.raises(MemoryError, match="no room"):
        problem.evaluate(population(problem, 6))
    assert torch.get_num_threads() == before


def test_fingerprint_names_what_a_loss_depends_on(
    library: BasisLibrary, shape: GptShape, batches: Batches
) -> None:
    frame = GptFrame(shape, seed=0)
    inputs, targets = batches
    changed = targets.copy()
    changed[0, 0, 0] = (changed[0, 0, 0] + 1) % 300
    problems = [
        GptProblem(library, frame, inputs, targets, share_layers=True),
        GptProblem(library, frame, inputs, targets, share_layers=False),
        GptProblem(library, frame, inputs, changed, share_layers=True),
        GptProblem(library, GptFrame(shape, seed=1), inputs, targets, share_layers=True),
    ]
    assert len({problem.fingerprint for problem in problems}) == 4
    more_workers = GptProblem(library, frame, inputs, targets, share_layers=True, workers=2)
    assert more_workers.fingerprint == problems[0].fingerprint


def test_structured_forms_give_the_losses_of_dense_matrices_under_another_fingerprint(
    shape: GptShape, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"kronecker": {"block": 3}, "monarch": {"blocks": 3}, "quantized_low_rank": {"rank": 2}}
    families = [family_settings(name, 1.0, few.get(name)) for name in FAMILIES.names()]
    library = BasisLibrary.generate(shape.n_embd, 2 * len(families), families, gain=1.0, seed=1)
    frame = GptFrame(shape, seed=0)

    def scored(workers: int = 1) -> tuple[GptProblem, list]:
        problem = GptProblem(library, frame, *batches, share_layers=False, workers=workers)
        rng = np.random.default_rng(3)
        genomes = [tuple(rng.integers(0, len(families) * 2, 8).tolist()) for _ in range(16)]
        return problem, losses(problem, genomes)

    plain, dense = scored()
    monkeypatch.setattr("clso.library.weight._LEAST_SIDE", 1)
    monkeypatch.setattr("clso.library.weight._LEAST_GAIN", 0.0)
    problem, structured = scored()
    np.testing.assert_allclose(structured, dense, atol=1e-5)
    assert structured != dense  # other forms have other rounding
    assert problem.fingerprint != plain.fingerprint
    assert scored(workers=2)[1] == structured


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x, y[:, :, :-1]), ValueError, r"expected \(n_batches, batch_size, T\)"),
        (lambda x, y: (x[0], y[0]), ValueError, r"expected \(n_batches, batch_size, T\)"),
        (lambda x, y: (x[:0], y[:0]), DataError, "no blocks to evaluate on"),
        (lambda x, y: (x, y + 300), DataError, "expected 0 to 299"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    library: BasisLibrary,
    frame: GptFrame,
    batches: Batches,
    change: Callable[[np.ndarray, np.ndarray], Batches],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        GptProblem(library, frame, *change(*batches), share_layers=True)


def test_a_library_of_another_width_or_no_worker_is_refused(
    make: Make, library: BasisLibrary, batches: Batches
) -> None:
    wide = GptFrame(GptShape(2, 2, 16, 10, 300), seed=0)
    with pytest.raises(ConfigError, match="library is for n_embd 12"):
        GptProblem(library, wide, *batches, share_layers=True)
    with pytest.raises(ValueError, match="workers is 0"):
        make(workers=0)
