"""The studies of several texts, on texts of a few hundred verses and the 257 tokens of bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from data_columns import data_columns

import pipelines
from clso.artifacts import Run, load_run
from clso.data.corpus import package_file
from clso.errors import ConfigError
from pipelines.cli import main
from pipelines.config import load_config, text_configs
from pipelines.disposal import Leftovers
from pipelines.studies import engine
from pipelines.studies.continual import averaged_loss, inferred

Invoke = Callable[..., str]

BASE = """
families: [gpt]
data:
  source: files
  train_tokens: 12000
  block_size: 32
  fractions: {train: 0.6, tune: 0.1, validation: 0.15, test: 0.15}
tokenizer: {kind: bytes}
model: {n_layer: 1, n_head: 2, n_embd: 32}
gpt:
  share_layers: false
  library: {size: 2}
  spectral:
    {enabled: true, size: 4, embeddings: 2, readouts: 4, recent_width: 6, topic_width: 6,
     topic_reach: 6, reweighted: {rounds: 1, embeddings: 2, readouts: 2}}
evaluation: {batch_size: 4, batches: 2}
search: {population: 4, generations: 2, finalists: 1, surrogate: {kind: none}}
baseline: {learning_rates: [1.0e-2], eval_points: 1, extend: 0}
runtime: {threads: 1, workers: 1}
analysis: {resamples: 100}
mixture:
  slots: 3
  bucketings: [none, position]
  steps: 3
  library:
    {patterns: [[1], [2], [3]], class_maps: [], class_targets: [], class_patterns: [],
     functions: [], gated_maps: [], cache_half_lives: [8, 32, inf], cache_idf: [0],
     induction_lengths: [1, 2], induction_decays: [1.0]}
"""
# the vectors of so few tokens take little beside what each library has of its own
SHARE = ("--share", "0.75")
NAMES = ("genesis", "shouting")
_DIVISION = "{train: 0.5, tune: 0.1, validation: 0.2, test: 0.2}"
_SHIFT = str.maketrans("aeiounrst", "eiouarstn")


@pytest.fixture(scope="session")
def texts_yaml(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two texts of other letters: verses, and verses in capitals whose letters are exchanged."""
    folder = tmp_path_factory.mktemp("texts")
    with package_file("bible", "data/kjv.jsonl").open() as file:
        verses = [json.loads(line)["text"] for line, _ in zip(file, range(400), strict=False)]
    sections = yaml.safe_load(BASE)
    sections["texts"] = {}
    for name, text in zip(NAMES, (str, lambda v: v.translate(_SHIFT).upper()), strict=True):
        path = folder / f"{name}.jsonl"
        documents = ["\n".join(verses[start : start + 10]) for start in range(0, 400, 10)]
        path.write_text("\n".join(json.dumps({"text": text(document)}) for document in documents))
        sections["texts"][name] = {"data.files": {"train": str(path)}}
    sections["data"]["files"] = {"train": str(folder / "genesis.jsonl")}
    path = folder / "texts.yaml"
    path.write_text(yaml.safe_dump(sections))
    return str(path)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, texts_yaml: str, invoke: Invoke) -> Run:
    out = tmp_path_factory.mktemp("studied")
    printed = invoke("transfer", texts_yaml, "--seeds", "2", "--no-prefect", "--out", str(out))
    assert "From genesis to shouting: other library" in " ".join(printed.split())
    printed = invoke(
        "multitask", texts_yaml, *SHARE, "--seeds", "2", "--no-prefect", "--out", str(out)
    )
    assert "of the bytes of own libraries" in " ".join(printed.split())
    printed = invoke("continual", texts_yaml, "--seeds", "2", "--no-prefect", "--out", str(out))
    assert "after the last stage" in " ".join(printed.split())
    (path,) = (out / "runs").iterdir()
    return load_run(path)


def rows_of(run: Run, table: str, **where: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.table(table).to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


# ----- transfer


def test_every_pair_has_every_arm_with_every_seed(studied: Run) -> None:
    for source, target in (NAMES, NAMES[::-1]):
        for arm in ("library", "genome", "model"):
            rows = rows_of(studied, "transfer", source=source, target=target, arm=arm)
            assert [row["seed"] for row in rows] == [0, 1]
        for arm in ("scratch", "random", "bigram"):
            rows = rows_of(studied, "transfer", source=None, target=target, arm=arm)
            assert [row["seed"] for row in rows] == [0, 1]


def test_a_genome_or_a_model_of_another_text_is_the_one_that_was_found_there(studied: Run) -> None:
    for source, target in (NAMES, NAMES[::-1]):
        for seed in (0, 1):
            (own,) = rows_of(studied, "transfer", target=source, arm="scratch", seed=seed)
            for arm in ("genome", "model"):
                (moved,) = rows_of(
                    studied, "transfer", source=source, target=target, arm=arm, seed=seed
                )
                assert moved["genome"] == own["genome"]
                assert moved["evaluations"] == 0
                assert moved["loss"] is moved["held_back_loss"] is None


def test_arms_pay_for_their_own_work_alone(studied: Run) -> None:
    for row in rows_of(studied, "transfer"):
        library_j, search_j = row["library_energy_j"], row["search_energy_j"]
        assert (library_j > 0) == (row["arm"] != "model")
        assert (search_j > 0) == (row["arm"] in ("scratch", "library"))
        assert (row["evaluations"] > 0) == (row["arm"] in ("scratch", "library"))
        assert row["energy_j"] == pytest.approx(library_j + search_j)


def test_a_library_of_other_letters_is_worse_than_ones_own(studied: Run) -> None:
    for target in NAMES:
        for seed in (0, 1):
            (own,) = rows_of(studied, "transfer", target=target, arm="scratch", seed=seed)
            for arm in ("library", "model"):
                (moved,) = rows_of(studied, "transfer", target=target, arm=arm, seed=seed)
                assert moved["test_loss"] > own["test_loss"] + 0.5


def test_scratch_is_a_search_of_its_own_configuration(studied: Run, texts_yaml: str) -> None:
    out = studied.path.parents[1]
    own = text_configs(load_config(texts_yaml))["shouting"]
    found = pipelines.analyze(own, {"baseline.enabled": False, "name": "own"}, out=out)
    (row,) = rows_of(studied, "transfer", target="shouting", arm="bigram", seed=0)
    (bigram,) = [own for own in found.results.to_pylist() if own["model"] == "bigram"]
    assert row["test_loss"] == bigram["test_loss"]
    assert row["ci_low"] == bigram["ci_low"]


# ----- multitask


def test_every_text_has_a_row_for_every_library_and_seed(studied: Run) -> None:
    for library in ("own", "pooled", "joined"):
        for text in NAMES:
            rows = rows_of(studied, "multitask", library=library, text=text)
            assert [row["seed"] for row in rows] == [0, 1]


def test_own_libraries_are_those_of_the_transfer(studied: Run) -> None:
    for row in rows_of(studied, "multitask", library="own"):
        (own,) = rows_of(studied, "transfer", target=row["text"], arm="scratch", seed=row["seed"])
        assert row["test_loss"] == own["test_loss"]
        assert row["energy_j"] == own["energy_j"]


def test_one_library_takes_fewer_bytes_than_two(studied: Run) -> None:
    for seed in (0, 1):
        held, used = (
            {
                library: rows_of(studied, "multitask", library=library, seed=seed)[0][name]
                for library in ("own", "pooled", "joined")
            }
            for name in ("library_bytes", "used_bytes")
        )
        assert held["joined"] <= 0.75 * held["own"]
        assert held["pooled"] < held["own"]
        for library in held:
            assert used[library] < held[library] * 1.5


# ----- continual


def test_kept_genomes_forget_nothing_and_are_unknown_before_their_stage(studied: Run) -> None:
    for method in ("genomes", "adamw_each"):
        for seed in (0, 1):
            first, second = (
                rows_of(studied, "continual", method=method, seed=seed, stage=stage)
                for stage in (1, 2)
            )
            assert first[0]["test_loss"] == second[0]["test_loss"]
            assert first[1]["test_loss"] is None
            assert second[1]["forgetting"] == 0.0
            assert first[1]["inferred_loss"] is not None
            assert second[0]["stored_bytes"] > first[0]["stored_bytes"]


def test_forgetting_is_the_rise_since_the_own_stage(studied: Run) -> None:
    for seed in (0, 1):
        rows = rows_of(studied, "continual", method="adamw", seed=seed)
        loss = {(row["stage"], row["text"]): row["test_loss"] for row in rows}
        said = {(row["stage"], row["text"]): row["forgetting"] for row in rows}
        assert said[1, "genesis"] == said[2, "shouting"] == 0.0
        assert said[1, "shouting"] is None
        assert said[2, "genesis"] == loss[2, "genesis"] - loss[1, "genesis"]
        # of letters that the second text does not have
        assert said[2, "genesis"] > 0.1
        assert loss[2, "shouting"] < loss[1, "shouting"] - 0.1


def test_the_network_goes_on_from_the_network_of_the_stage_before(studied: Run) -> None:
    for seed in (0, 1):
        once, again = (
            rows_of(studied, "continual", method=method, seed=seed)
            for method in ("adamw", "adamw_each")
        )
        assert once[0]["test_loss"] == again[0]["test_loss"]  # the first stage is the same
        assert once[3]["test_loss"] != again[3]["test_loss"]


def test_texts_of_other_letters_are_told_apart_by_their_first_half(studied: Run) -> None:
    for row in rows_of(studied, "continual", method="genomes", stage=2):
        assert row["inferred_share"] > 0.95
        assert row["inferred_loss"] == pytest.approx(row["second_half_loss"], abs=0.1)
        # the average may cost log 2 nats per block
        assert row["averaged_loss"] <= row["test_loss"] + np.log(2) / 32 + 1e-9


def test_the_average_is_no_worse_than_the_best_model_by_more_than_its_prior() -> None:
    rng = np.random.default_rng(0)
    for models in (1, 2, 5):
        nll = rng.exponential(3.0, (models, 7, 16))
        best = nll.sum(axis=2).min(axis=0).mean() / 16
        assert best - 1e-12 <= averaged_loss(nll) <= best + np.log(models) / 16 + 1e-12


def test_inference_reads_first_halves_and_scores_second_halves() -> None:
    rng = np.random.default_rng(1)
    nll = rng.exponential(3.0, (3, 50, 16))
    loss, share = inferred(nll, 2)
    for block, chosen in enumerate(nll[:, :, :8].sum(axis=2).argmin(axis=0)):
        other = nll.copy()
        others = [model for model in range(3) if model != chosen]
        other[others, block, 8:] += 100.0  # second halves of models that are not chosen
        assert inferred(other, 2) == (loss, share)
    assert inferred(nll[:1], 0) == (pytest.approx(nll[0, :, 8:].mean()), 1.0)
    assert inferred(nll, None)[1] is None


# ----- all of them


def test_the_same_command_computes_nothing_again(
    studied: Run, texts_yaml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a stored part was computed again")

    monkeypatch.setattr(engine.JudgedSearch, "run", refuse)
    monkeypatch.setattr("pipelines.studies.continual.sweep_of", refuse)
    out = studied.path.parents[1]
    for study, options in (("transfer", {}), ("multitask", {"share": 0.75}), ("continual", {})):
        before = studied.folder.read(study)
        again = getattr(pipelines, study)(texts_yaml, out=out, seeds=2, **options)
        assert again.table(study).equals(before)


def test_another_folder_has_the_same_data_columns(
    studied: Run, texts_yaml: str, tmp_path: Path
) -> None:
    again = pipelines.transfer(texts_yaml, out=tmp_path, seeds=1)
    kept = [row for row in rows_of(studied, "transfer") if row["seed"] == 0]
    joules = {"library_energy_j", "search_energy_j"}
    for row, other in zip(kept, rows_of(again, "transfer"), strict=True):
        for name in set(row) - joules - {"duration_s", "energy_j"}:
            assert row[name] == other[name], name
    assert data_columns(again.transfer).num_rows == len(kept)


def test_what_the_texts_use_is_not_left_over(studied: Run) -> None:
    leftovers = Leftovers(studied.path.parents[1])
    arms = {name for names in studied.manifest["arms"].values() for name in names}
    assert len(arms) == 4  # two texts with two seeds
    assert not any("arms" in str(leftover.path) for leftover in leftovers.find())


def test_the_report_and_the_terminal_show_all_three(studied: Run, invoke: Invoke) -> None:
    invoke("report", str(studied.path))
    page = studied.folder.report_path.read_text()
    shown = " ".join(invoke("show", str(studied.path)).split())
    for said in ("between texts", "for several texts", "A stream of texts"):
        assert said in page
        assert said in shown
    for command in ("transfer", "multitask", "continual"):
        assert f"clso {command}" in page


def test_a_mixture_moves_too(texts_yaml: str, tmp_path: Path) -> None:
    run = pipelines.transfer(texts_yaml, {"families": ["mixture"]}, out=tmp_path, seeds=1)
    losses = {(row["target"], row["arm"]): row["test_loss"] for row in run.transfer.to_pylist()}
    for target in NAMES:
        assert losses[target, "scratch"] < losses[target, "library"] < losses[target, "model"]
        assert losses[target, "genome"] < losses[target, "library"]


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("transfer", ["texts=null"], "no section `texts`"),
        ("transfer", ["texts={a: {}, b: {seed: 1}}"], "may differ in data.* alone"),
        ("transfer", ["texts={a: {}, b: {data.block_size: 64}}"], "not in data.block_size"),
        ("transfer", ["texts={a: {}, b: {}}"], "are the same text"),
        (
            "transfer",
            [f"texts={{a: {{}}, b: {{data.fractions: {_DIVISION}}}}}"],
            "are the same text",
        ),
        ("transfer", ["tokenizer={kind: bpe}"], "learns a vocabulary from each text"),
        ("transfer", ["gpt.spectral.enabled=false"], "there is none to transfer"),
        ("multitask", ["families=[mixture]"], "texts share no library"),
        ("multitask", ["tokenizer={kind: bpe}"], "learns a vocabulary from each text"),
        ("continual", ["texts={a: {}, b: {}}"], "are the same text"),
    ],
)
def test_mistakes_end_with_status_2_before_any_work(
    texts_yaml: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    options: list[str],
    said: str,
) -> None:
    values = [part for option in options for part in ("--set", option)]
    with pytest.raises(SystemExit) as ended:
        main([command, texts_yaml, "--no-prefect", "--out", str(tmp_path), *values])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("study", "options", "said"),
    [
        ("transfer", {"targets": ["nowhere"]}, "--to is nowhere, but texts has only"),
        ("transfer", {"sources": ["genesis"], "targets": ["genesis"]}, "nothing is transferred"),
        ("multitask", {"texts": ["genesis"]}, "a library is shared by several"),
        ("multitask", {"share": 1.5}, "expected above 0 and at most 1"),
        ("continual", {"texts": ["genesis"]}, "a stream has several"),
        ("continual", {"texts": ["genesis", "nowhere"]}, "--text is nowhere"),
    ],
)
def test_wrong_options_are_told_before_any_work(
    texts_yaml: str, tmp_path: Path, study: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        getattr(pipelines, study)(texts_yaml, out=tmp_path, **options)
    assert not any(tmp_path.iterdir())


def test_a_joined_library_that_is_too_small_says_so(texts_yaml: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not hold one entry of each slot and library"):
        pipelines.multitask(texts_yaml, out=tmp_path, share=0.05, seeds=1)
