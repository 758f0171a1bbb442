import pickle
from dataclasses import replace

import numpy as np
import pytest
from moved import moved

from clso.energy import CpuModelMeter, EnergyMonitor
from clso.errors import DataError, GenomeError
from clso.mixture.buckets import Bucketing
from clso.mixture.columns import Columns
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.history import History, HistoryCounts
from clso.mixture.specification import fit_functions

VOCAB = 12
NAMES = ("unigram", "kn(1)", "kn(1,2)", "kn(2)", "cache(8)", "induction(1)", "induction(2)")
BUCKETINGS = ("none", "match", "count1*match")

Splits = dict[str, SplitColumns]


def text(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(0).dirichlet(np.full(VOCAB, 0.2), VOCAB).cumsum(axis=1)
    tokens = [0]
    for draw in rng.random(n):
        tokens.append(int(np.searchsorted(table[tokens[-1]], draw)) % VOCAB)
    return np.array(tokens)


@pytest.fixture(scope="module")
def splits(text_stream: type) -> Splits:
    train = text_stream(text(1, 3000))
    functions = fit_functions(NAMES, [train], VOCAB, {})
    counts = HistoryCounts.fit([train], VOCAB)
    found = {}
    for seed, name in ((2, "tune"), (3, "validation")):
        stream = text(seed, 1024)
        inputs, targets = stream[:-1].reshape(-1, 16), stream[1:].reshape(-1, 16)
        columns = Columns.of(functions, inputs, targets, VOCAB, split=name)
        found[name] = SplitColumns(columns, counts.of(inputs))
    return found


def problem(splits: Splits, **options: object) -> MixtureProblem:
    settings = {"slots": 3, "bucketings": BUCKETINGS, "smoothing": 5.0, "steps": 8} | options
    return MixtureProblem(splits["tune"], splits["validation"], **settings)  # type: ignore[arg-type]


GENOMES = [(1, 2, 3, 0), (0, 0, 0, 1), (2, 2, 2, 2), (7, 5, 3, 1), (3, 2, 1, 0), (4, 0, 6, 2)]


def test_a_loss_does_not_depend_on_the_population_or_its_order(
    splits: Splits,
) -> None:
    alone = [problem(splits).evaluate([genome])[0].loss for genome in GENOMES]
    together = [found.loss for found in problem(splits).evaluate(GENOMES[::-1])]
    assert together[::-1] == alone
    assert alone[0] == alone[4]


def test_a_moved_problem_gives_the_same_losses_and_measures_with_its_own_monitor(
    splits: Splits,
) -> None:
    meters = EnergyMonitor([CpuModelMeter(10.0)])
    mine = problem(splits, monitor=meters)
    copy = moved(mine)
    assert copy.fingerprint == mine.fingerprint
    np.testing.assert_array_equal(copy.space.features(), mine.space.features())
    for fidelity in mine.fidelities:
        expected = [found.loss for found in mine.evaluate(GENOMES, fidelity)]
        assert [found.loss for found in copy.evaluate(GENOMES, fidelity)] == expected
    assert (
        moved(copy).weights(GENOMES[0]).shared.tolist() == mine.weights(GENOMES[0]).shared.tolist()
    )
    assert not copy.evaluate(GENOMES)[0].measurement.devices
    copy.monitor = meters
    assert copy.evaluate(GENOMES)[0].measurement.devices


def test_a_moved_problem_takes_little_more_than_its_columns(splits: Splits) -> None:
    mine = problem(splits)
    mine.space.features()
    values = sum(split.columns.values.nbytes for split in splits.values())
    history = sum(sum(seen.nbytes for seen in split.history.seen) for split in splits.values())
    assert len(pickle.dumps(mine)) < values + 2 * history


def test_the_loss_is_that_of_the_weighted_functions_on_validation(
    splits: Splits,
) -> None:
    mine = problem(splits)
    genome = (7, 2, 0, 2)
    weights = mine.weights(genome)
    assert mine.functions(genome) == ("kn(1)", "induction(2)")
    assert mine.bucketing(genome) == "count1*match"
    buckets = Bucketing("count1*match").assign(splits["validation"].history).ravel()
    values = splits["validation"].columns.with_uniform[[0, 2, 7]]
    probability = (weights.table[buckets] * values.T).sum(axis=1)
    found = mine.evaluate([genome])[0]
    assert found.loss == pytest.approx(-np.log(probability).mean(), rel=1e-5)
    assert (found.status, found.tokens) == ("evaluated", 1024)


def test_more_functions_fit_tune_no_worse(splits: Splits) -> None:
    mine = problem(splits, slots=7)
    losses = [
        mine.evaluate([genome])[0].loss
        for genome in [(0,) * 7 + (0,), (1,) + (0,) * 6 + (0,), (1, 2) + (0,) * 5 + (0,)]
    ]
    assert losses[0] == pytest.approx(np.log(VOCAB), abs=1e-6)
    assert losses[0] > losses[1] > losses[2]  # type: ignore[operator]  # all are numbers


def test_a_fidelity_takes_blocks_spread_over_tune_and_validation(
    splits: Splits,
) -> None:
    def thinned(scored: SplitColumns, stride: int) -> SplitColumns:
        columns, history = scored.columns, scored.history
        blocks = columns.values.reshape(len(columns.names), -1, 16)[:, ::stride]
        values = np.ascontiguousarray(blocks).reshape(len(columns.names), -1)
        seen = tuple(counts[::stride] for counts in history.seen)
        return SplitColumns(replace(columns, values=values), History(seen, history.match[::stride]))

    for fidelity, stride in ((0.25, 4), (0.5, 2)):
        fewer = problem({name: thinned(split, stride) for name, split in splits.items()})
        for part, whole in zip(
            problem(splits).evaluate(GENOMES, fidelity), fewer.evaluate(GENOMES), strict=True
        ):
            assert part.loss == pytest.approx(whole.loss, rel=1e-6)
            assert part.tokens == whole.tokens
            assert part.batch_nats is not None
            assert len(part.batch_nats) == part.tokens // 16
            assert sum(part.batch_nats) / part.tokens == pytest.approx(part.loss)
            assert whole.batch_nats is None


def test_a_fidelity_scores_its_share_of_validation(splits: Splits) -> None:
    mine = problem(splits)
    assert [mine.evaluate(GENOMES[:1], f)[0].tokens for f in mine.fidelities] == [256, 512, 1024]
    with pytest.raises(ValueError, match=r"fidelity is 0\.3"):
        mine.evaluate(GENOMES, 0.3)


def test_joules_are_shared_and_an_unmeasured_evaluation_has_none(
    splits: Splits,
) -> None:
    assert problem(splits).evaluate(GENOMES)[0].measurement.energy_j is None
    monitor = EnergyMonitor([CpuModelMeter(10.0)])
    found = [one.measurement for one in problem(splits, monitor=monitor).evaluate(GENOMES)]
    assert {one.energy_source for one in found} == {"cpu_model"}
    assert all(one.energy_j is not None and one.energy_j >= 0 for one in found)


def test_the_fingerprint_names_all_that_a_loss_depends_on(splits: Splits) -> None:
    prints = {
        problem(splits, **options).fingerprint
        for options in (
            {},
            {"slots": 4},
            {"smoothing": 6.0},
            {"steps": 9},
            {"bucketings": ("none", "match")},
        )
    }
    prints.add(problem({"tune": splits["validation"], "validation": splits["tune"]}).fingerprint)
    assert len(prints) == 6


def test_genomes_of_another_space_and_empty_splits_are_refused(
    splits: Splits,
) -> None:
    with pytest.raises(GenomeError, match="function1"):
        problem(splits).evaluate([(1, 8, 0, 0)])
    assert problem(splits).evaluate([]) == []
    functions = fit_functions(NAMES, [], VOCAB, {})
    nothing = np.zeros((0, 16), dtype=np.int64)
    empty = SplitColumns(
        Columns.of(functions, nothing, nothing, VOCAB, split="tune"),
        HistoryCounts.fit([], VOCAB).of(nothing),
    )
    with pytest.raises(DataError, match="no targets in tune"):
        problem({**splits, "tune": empty})


def test_what_is_known_of_functions_is_read_from_tune_alone(
    splits: Splits,
) -> None:
    tune, validation = splits["tune"], splits["validation"]
    values = tune.columns.values.copy()
    values[4] = values[1]
    alike = replace(tune, columns=replace(tune.columns, values=values))
    settings = {"slots": 3, "bucketings": BUCKETINGS, "smoothing": 5.0, "steps": 8}
    features = MixtureProblem(alike, validation, **settings).space.features()  # type: ignore[arg-type]
    assert features is not None
    assert features.shape == (len(NAMES) + 1, len(NAMES))
    assert np.allclose(features[5], features[2], atol=1e-6)
    assert not np.allclose(features[5], features[3], atol=1e-2)
    other = replace(validation, columns=replace(validation.columns, values=1 - values))
    again = MixtureProblem(alike, other, **settings).space.features()  # type: ignore[arg-type]
    assert again is not None
    assert np.array_equal(features, again)
