"""A model family of another package: `clso run` and the studies work on it as on CLSO's own."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installed_package import install_package

import pipelines.families
from clso.artifacts import Run, load_run
from clso.errors import ConfigError
from pipelines.cli import main
from pipelines.config import RunConfig, load_config
from pipelines.config.tune import TuneSettings
from pipelines.studies import pareto
from pipelines.studies.tuned import TunedSearch
from search.tuning import Choices

Invoke = Callable[..., str]

# Tempered unigrams: p(y) ~ (n(y) + alpha)^(1/t), the genome picks alpha and t.
TOY = '''
    """Unigrams whose smoothing and temperature are searched."""

    import numpy as np
    from clso.artifacts import read_json
    from clso.data import Dataset
    from clso.digest import digest_of
    from clso.genome import GenomeSpace, Slot
    from clso.problem import Evaluation
    from clso.section import Count
    from pipelines.families import FamilySettings, ModelFamily

    ALPHAS = np.geomspace(0.01, 30.0, 8)


    class ToySettings(FamilySettings):
        temperatures: Count = 6

        def misfits(self, config):
            return ["toy.temperatures is odd"] if self.temperatures % 2 else []


    class Tempered:
        def __init__(self, log_p):
            self.name, self.log_p, self.stored_bytes = "toy", log_p, log_p.nbytes

        def token_nll(self, inputs, targets):
            return -self.log_p[targets]

        def probabilities(self, inputs):
            return np.broadcast_to(np.exp(self.log_p), (*inputs.shape, len(self.log_p)))

        def distribution(self, history):
            return np.exp(self.log_p)


    class ToyProblem:
        fidelities = (1.0,)

        def __init__(self, counts, targets, temperatures, monitor):
            self.counts, self.targets, self.monitor = counts, targets, monitor
            self.space = GenomeSpace((Slot("alpha", len(ALPHAS)), Slot("heat", temperatures)))
            self.fingerprint = digest_of([counts.tolist(), targets.tolist(), temperatures])

        def model(self, genome):
            scores = np.log(self.counts + ALPHAS[genome[0]]) / (0.5 + 0.25 * genome[1])
            return Tempered(scores - np.logaddexp.reduce(scores))

        def evaluate(self, genomes, fidelity=1.0):
            with self.monitor.window() as window:
                models = [self.model(genome) for genome in genomes]
                losses = [float(model.token_nll(None, self.targets).mean()) for model in models]
            shares = window.measurement.split([1.0] * len(genomes))
            size = self.targets.size
            return [Evaluation(loss, "evaluated", size, s) for loss, s in zip(losses, shares)]


    class ToyFamily(ModelFamily):
        name, title, settings = "toy", "tempered unigrams", ToySettings

        def problem(self, experiment):
            return self.part(experiment, slice(None))

        def halves(self, experiment):
            middle = experiment.dataset.splits["validation"].n_blocks // 2
            first, second = slice(0, middle), slice(middle, None)
            return self.part(experiment, first), self.part(experiment, second)

        def part(self, experiment, blocks):
            targets = experiment.budget["train"].blocks(slice(None))[1].ravel()
            counts = np.bincount(targets, minlength=experiment.dataset.vocab_size)
            validation = experiment.dataset.splits["validation"].blocks(blocks)[1]
            temperatures = experiment.config.toy.temperatures
            return ToyProblem(counts, validation, temperatures, experiment.monitor)

        def models(self, experiment, problem, genomes):
            return map(problem.model, genomes)

        def save(self, model, experiment, folder):
            folder.mkdir(parents=True)
            np.save(folder / "toy.npy", model.log_p)

        def load(self, folder):
            return Tempered(np.load(folder / "toy.npy"))


    FAMILY = ToyFamily()
'''
TINY = """
families: [toy]
toy: {temperatures: 4}
data: {source: package, train_tokens: 16000, block_size: 32}
tokenizer: {kind: bpe, vocab_size: 512, train_bytes: 200_000}
search: {population: 4, generations: 3, surrogate: {kind: ridge, start: 1}, elites: 1}
baseline: {enabled: false}
analysis: {resamples: 200}
ablate:
  evaluations: 8
  seeds: 2
  factors:
    heat: {base: 4, levels: {4: {}, 6: {toy.temperatures: 6}}}
savings:
  evaluations: 8
  seeds: 2
  arms: {unfiltered: {surrogate.kind: none}, ridge: {surrogate.kind: ridge}}
tune:
  trials: 2
  seeds: 1
  check_seeds: 2
  budget: {evaluations: 10}
  space: {population: [4, 5], elites: [0, 1], tournament_size: [2, 3], surrogate: {kind: [none]},
          toy: {temperatures: [2, 4, 6]}}
"""
GROUP = "clso.model_families"


@pytest.fixture(scope="module")
def toy_yaml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A configuration that names a family of a package which is installed for these tests."""
    folder = tmp_path_factory.mktemp("installed")
    with pytest.MonkeyPatch.context() as patch:
        point = {GROUP: {"toy": "toy_family:FAMILY"}}
        install_package(patch, folder, "toy-family", {"toy_family": TOY}, point)
        path = folder / "toyrun.yaml"
        path.write_text(TINY)
        yield str(path)


@pytest.fixture(scope="module")
def out(toy_yaml: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def toy_run(toy_yaml: str, out: Path, invoke: Invoke) -> Run:
    printed = invoke("run", toy_yaml, "--no-prefect", "--out", str(out))
    assert "tempered unigrams" in printed
    (path,) = (out / "runs").iterdir()
    return load_run(path)


def test_a_run_has_the_family_s_row_genes_and_model(toy_run: Run) -> None:
    losses = {row["model"]: row["test_loss"] for row in toy_run.results.to_pylist()}
    assert set(losses) == {"uniform", "unigram", "bigram", "kneser_ney", "toy"}
    assert losses["bigram"] < losses["toy"] < losses["uniform"]
    assert (toy_run.folder.model("toy") / "toy.npy").exists()
    assert toy_run.manifest["models"]["toy"]["title"] == "tempered unigrams"
    assert set(toy_run.evaluations["family"].to_pylist()) == {"toy"}
    stages = toy_run.manifest["stages"]
    assert list(stages) == ["prepare", "toy", "analyze"]
    assert {stage["status"] for stage in stages.values()} == {"done"}
    energy = {row["model"]: row["energy_j"] for row in toy_run.results.to_pylist()}
    (search,) = [row for row in toy_run.energy.to_pylist() if row["stage"] == "toy"]
    assert energy["toy"] == pytest.approx(search["energy_j"])


def test_the_report_names_the_family_by_its_title(toy_run: Run) -> None:
    page = toy_run.folder.report_path.read_text(encoding="utf-8")
    assert "tempered unigrams" in page


def test_a_finished_run_is_reused(toy_run: Run, toy_yaml: str, out: Path, invoke: Invoke) -> None:
    printed = invoke("run", toy_yaml, "--no-prefect", "--out", str(out))
    assert printed.count("reused") == 3
    shutil.rmtree(toy_run.folder.model("toy"))
    printed = invoke("run", toy_yaml, "--no-prefect", "--out", str(out))
    assert printed.count("reused") == 1
    assert (toy_run.folder.model("toy") / "toy.npy").exists()


@pytest.mark.slow
def test_ablations_and_savings_search_the_family(
    toy_run: Run, toy_yaml: str, out: Path, invoke: Invoke
) -> None:
    assert "heat" in invoke("ablate", toy_yaml, "--no-prefect", "--out", str(out))
    invoke("savings", toy_yaml, "--no-prefect", "--out", str(out))
    run = load_run(toy_run.path)
    arms = {(row["family"], row["arm"]) for row in run.ablations.to_pylist()}
    assert arms == {("toy", "base"), ("toy", "heat=6")}
    assert {row["arm"] for row in run.savings.to_pylist()} == {"unfiltered", "ridge"}
    assert {row["slot"] for row in run.selections.to_pylist()} >= {"alpha", "heat"}
    invoke("report", str(run.path))


@pytest.mark.slow
def test_a_study_tunes_its_search(toy_run: Run, toy_yaml: str, out: Path, invoke: Invoke) -> None:
    del toy_run  # its data set lies there already
    invoke("tune", toy_yaml, "--no-prefect", "--out", str(out))
    study = load_run(out / "studies" / "toyrun")
    trials = study.table("trials").to_pylist()
    assert len(trials) == 2
    picked = [json.loads(row["params"])["toy.temperatures"] for row in trials]
    assert picked[0] == 4, "the first trial has the configuration's own value"
    assert set(picked) <= {2, 4, 6}
    (best,) = [json.loads(row["params"]) for row in trials if row["is_best"]]
    tuned = load_config(study.path / "best.yaml")
    assert tuned.model_dump()["toy"] == {"temperatures": best["toy.temperatures"]}


def test_the_values_of_its_own_section_are_dimensions_to_tune(toy_yaml: str) -> None:
    config = load_config(toy_yaml)
    family = pipelines.families.FAMILIES.get("toy")
    dimensions = TunedSearch(config, family).space().dimensions
    assert dimensions["toy.temperatures"] == Choices((2, 4, 6))
    assert family.with_library(config, {"toy.temperatures": 6}).model_dump()["toy"] == {
        "temperatures": 6
    }
    for space, told in (
        ("{temperatures: [0, 4]}", r"toy\.temperatures: 0: input should be greater"),
        ("{temperature: [2, 4]}", "toy.temperature: unknown key; did you mean 'temperatures'"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_config(toy_yaml, [f"tune.space.toy={space}"])
    plain = RunConfig(name="mine", families=("toy",), tune=TuneSettings(trials=7))
    assert plain.tune is not None
    assert plain.tune.trials == 7
    other = load_config(toy_yaml, ["families=[gpt, toy]", "tune.family=gpt", "ablate=null"])
    with pytest.raises(ConfigError, match=r"tune\.space\.toy is of another library"):
        TunedSearch.of(other).space()


def test_its_model_continues_a_text_and_is_not_exported(
    toy_run: Run,
    out: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["generate", str(toy_run.path), "--prompt", "The", "--max-tokens", "5"]
    assert "\nThe" in invoke(*command)
    named = invoke(*command, "--model", "toy", "--seed", "1")
    assert named == invoke(*command, "--model", "toy", "--seed", "1")
    model = type(pipelines.families.FAMILIES.get("toy").load(toy_run.folder.model("toy")))
    monkeypatch.delattr(model, "distribution")
    for told, words in (
        ("the models of the family toy continue no text", command),
        ("toy is a model of another package", ["export", str(toy_run.path), "--model", "toy"]),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, *(["--to", str(out / "copy")] if words[0] == "export" else [])])
        assert ended.value.code == 2
        assert told in " ".join(capsys.readouterr().err.split())
    assert not (out / "copy").exists()


def test_a_family_of_another_name_than_its_entry_point_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke_yaml: str
) -> None:
    point = {GROUP: {"other": "misnamed_family:FAMILY"}}
    install_package(monkeypatch, tmp_path, "misnamed", {"misnamed_family": TOY}, point)
    with pytest.raises(ConfigError, match=r"'other' of misnamed 1\.0 .* own name is 'toy'"):
        load_config(smoke_yaml, ["families=[other]"])


@pytest.mark.parametrize(
    ("families", "searched"),
    [("gpt, toy", "gpt"), ("gpt, mixture, toy", "mixture"), ("mixture, gpt", "mixture")],
)
def test_a_front_is_that_of_the_last_family_that_counts_costs(
    toy_yaml: str, families: str, searched: str
) -> None:
    config = load_config(toy_yaml, [f"families=[{families}]", "savings=null", "ablate=null"])
    assert pareto.check(config)[0].name == searched


def test_its_settings_are_checked_and_belong_to_the_run_s_identity(toy_yaml: str) -> None:
    config = load_config(toy_yaml)
    assert config.digest() != load_config(toy_yaml, ["toy.temperatures=6"]).digest()
    made = RunConfig(name="mine", families=("toy",), toy={"temperatures": 2})
    assert made.model_dump()["toy"] == {"temperatures": 2}
    assert "toy" not in RunConfig(name="mine").model_dump()
    with pytest.raises(ConfigError, match=r"toy\.temperature: unknown key; did you mean 'temp"):
        load_config(toy_yaml, ["toy.temperature=6"])
    with pytest.raises(ConfigError, match=r"toy\.temperatures is odd"):
        load_config(toy_yaml, ["toy.temperatures=3"])


def test_an_unknown_family_lists_what_is_known_and_where_it_comes_from(toy_yaml: str) -> None:
    with pytest.raises(ConfigError, match=r"gpt, mixture \(CLSO\), toy \(toy-family 1.0\)"):
        load_config(toy_yaml, ["families=[tyo]"])


def test_an_object_that_is_no_family_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke_yaml: str
) -> None:
    point = {GROUP: {"nothing": "no_family:FAMILY"}}
    install_package(monkeypatch, tmp_path, "no-family", {"no_family": "FAMILY = 3"}, point)
    with pytest.raises(ConfigError, match=r"'nothing' of no-family 1\.0 .* cannot be used"):
        load_config(smoke_yaml, ["families=[nothing]"])
    assert "nothing" in pipelines.families.FAMILIES.names()
