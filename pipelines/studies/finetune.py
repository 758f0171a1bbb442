"""The study `clso finetune`: classifiers from a finished run's models and from random weights.

Every start has the same schedule, and for a seed the same new weights, order of examples and
dropout. Each start takes the rate that is the best for it on a part of train. What is reported is
over examples that no choice has read.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts import Run, check_folder, load_run, read_json
from clso.baseline.task import FromCheckpoint, FromScratch, FromTrained, Start
from clso.data.tokenizer import Tokenizer
from clso.engine import Shared
from clso.errors import ConfigError, WorkError
from clso.finetune import FinetuneSettings, Task
from clso.finetune.books import BOOKS, book_task
from clso.finetune.classifier import EncodedTexts
from clso.finetune.files import GLUE, file_task, folder_task, glue_task
from clso.finetune.fit import Fit, FitInputs
from clso.finetune.floors import FLOORS, floor_predictions
from clso.finetune.metrics import Predictions
from clso.gpt import GptShape
from clso.progress import SILENT, Reporter
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.run_model import RunModel
from pipelines.studies.engine import Part, Row, Study, with_figures

__all__ = ["finetune"]

# Raised whenever a change of code changes the rows of a part.
_VERSION = 1
_TABLE = "finetunings"
_CRYSTAL = "gpt"
_SECTIONS = ("finetune", "runtime")  # what does not change the run itself


def finetune(
    run: Run,
    tasks: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    reporter: Reporter = SILENT,
) -> Run:
    """Fine-tune the GPT-2 models of a finished run on tasks of classification.

    Fits that are stored stay, so an interrupted call goes on where it stopped.

    Args:
        run: has a crystalline GPT.
        tasks: names of `finetune.tasks`, `kjv_books`, `sst2`, `cola`, or folders with the files
            train and dev; none: those of `finetune.tasks`, or else `kjv_books`.
        overrides: of the sections `finetune` and `runtime`, by dotted path.
        reporter: shows the progress.

    Returns:
        The run, with the table `finetunings`.

    Raises:
        ArtifactError: the run has no crystalline GPT, or another process works in it.
        ConfigError: an override or a task is wrong.
        DataError: a task cannot be read.
        WorkError: every training of a start diverged.
    """
    config = _config(run, overrides or {})
    settings = config.finetune or FinetuneSettings()
    models = _Models.of(run, settings)
    with RunContext.reopen(run, config, reporter) as context:
        loaded = [_task(context, name, settings) for name in _named(tasks, settings)]
        names = [task.name for task in loaded]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"two tasks have one name: {', '.join(names)}", remedy="name each of them once"
            )
        studies = [_TaskStudy.of(context, models, task, settings) for task in loaded]
        for study in studies:
            study.write()
        return with_figures(context, _TABLE) if studies else load_run(run.path)


def _config(run: Run, overrides: Mapping[str, Any]) -> RunConfig:
    config = RunConfig.parsed(run.config, run.run_id, "make the run again with `clso run`")
    for path in overrides:
        if path.partition(".")[0] not in _SECTIONS:
            raise ConfigError(
                f"{path} is a setting of the run, which is finished",
                remedy=f"override settings of {' and '.join(_SECTIONS)} alone, such as "
                "finetune.epochs=3",
            )
    return config.with_overrides(overrides, where="--set") if overrides else config


def _named(tasks: Sequence[str], settings: FinetuneSettings) -> Sequence[str]:
    return tasks or tuple(settings.tasks) or (BOOKS,)


def _task(run: RunContext, name: str, settings: FinetuneSettings) -> Task:
    """Return the task of a name or folder.

    Raises:
        ConfigError: there is no such task, or it does not fit the run.
        DataError: it cannot be read.
    """
    seed, data = run.config.seed, run.config.data
    if name in settings.tasks:
        task = file_task(name, settings.tasks[name], settings, seed=seed)
    elif name == BOOKS:
        if data.source != "package":
            raise ConfigError(
                f"{BOOKS} is about the King James text, and the data of {run.run_id} are of "
                f"another source, {data.source}",
                remedy="name a run on the King James text, or another task",
            )
        dataset, budget = run.experiment.dataset, run.experiment.budget
        task = book_task(
            data.package,
            dataset,
            budget,
            labels=settings.labels,
            verses=settings.verses,
            held_out=settings.held_out,
            seed=seed,
        )
    elif name in GLUE:
        task = glue_task(name, settings, run.out / "hub-cache", seed=seed)
    elif Path(name).expanduser().is_dir():
        task = folder_task(Path(name).expanduser(), settings, seed=seed)
    else:
        known = [*settings.tasks, BOOKS, *GLUE]
        near = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"there is no task {name!r}, and no folder of this name",
            remedy=f"did you mean {near[0]}?" if near else f"the tasks are {', '.join(known)}",
        )
    return task.limited(settings.train_examples, seed=seed)


@dataclass(frozen=True)
class _Models:
    """The starts of a run.

    Attributes:
        paths: the folders of its models, by name.
        shape: that they share.
    """

    paths: Mapping[str, Path]
    names: Sequence[str]
    shape: GptShape
    tokenizer: Tokenizer

    @classmethod
    def of(cls, run: Run, settings: FinetuneSettings) -> _Models:
        """Find the models that fine-tuning starts from.

        Raises:
            ArtifactError: the run has no crystalline GPT.
            ConfigError: its head is tied, or texts are to be longer than its positions.
        """
        crystal = RunModel.find(run, _CRYSTAL).path
        check_folder(crystal, remedy="make it again with the command that made the run")
        found = read_json(crystal / "config.json")
        if found["tie_word_embeddings"]:
            raise ConfigError(
                f"the head of the crystalline GPT of {run.run_id} is its embedding, and a "
                "crystalline GPT is trained further with a head of its own",
                remedy="use a run with gpt.unigram_bias: true or gpt.spectral.enabled: true",
            )
        shape = GptShape(
            found["n_layer"],
            found["n_head"],
            found["n_embd"],
            found["n_positions"],
            found["vocab_size"],
        )
        if settings.max_length is not None and settings.max_length > shape.block_size:
            raise ConfigError(
                f"finetune.max_length is {settings.max_length}, and the models of {run.run_id} "
                f"have {shape.block_size} positions",
                remedy=f"give {shape.block_size} at most, or leave it out",
            )
        paths: dict[str, Path] = {
            name: path
            for name in settings.starts
            if (path := run.folder.model(name)) and (path / "model.safetensors").exists()
        }
        names = [name for name in settings.starts if name in paths or name == "random"]
        return cls(paths, names, shape, Tokenizer.load(crystal / "tokenizer.json"))

    def start(self, name: str, seed: int, device: str) -> Start:
        """Return the weights of a start; a seed draws what it lacks."""
        if name == "random":
            return FromScratch(self.shape, self.tokenizer.end_token_id, seed, device)
        kind = FromCheckpoint if name == _CRYSTAL else FromTrained
        return kind(self.paths[name], seed, device)


@dataclass(frozen=True)
class _TaskStudy:
    """The fits of one task, and what is stored of them.

    Attributes:
        seeds: of the fits that are reported; those that choose have the first of them.
    """

    study: Study
    models: _Models
    inputs: FitInputs
    seeds: Sequence[int]

    @classmethod
    def of(
        cls, run: RunContext, models: _Models, task: Task, settings: FinetuneSettings
    ) -> _TaskStudy:
        length = settings.max_length or models.shape.block_size
        train, reported = (
            EncodedTexts.of(examples, models.tokenizer, length)
            for examples in (task.train, task.reported)
        )
        count = max(settings.seeds, settings.choice_seeds)
        seeds = range(run.config.seed, run.config.seed + count)
        device = run.experiment.device
        starts = {(n, seed): models.start(n, seed, device) for n in models.names for seed in seeds}
        inputs = FitInputs(task, settings, starts, train, reported, run.monitor)
        inputs.check()
        return cls(Study(run, _TABLE, _VERSION), models, inputs, seeds)

    def write(self) -> None:
        """Make the fits that are missing, and write the task's rows and its note."""
        run, task, settings = self.study.run, self.inputs.task, self.inputs.settings
        floors = self._tables("floors", [self._floor(name) for name in FLOORS])
        choices = [
            Fit(start, lr, seed, chooses=True)
            for start in self.models.names
            for lr in settings.learning_rates
            for seed in self.seeds[: settings.choice_seeds]
        ]
        chosen = self._tables("choice of rates", [self._part(fit) for fit in choices])
        rates = self._rates([row for table in chosen for row in table.to_pylist()])
        fits = [
            Fit(start, rates[start], seed, chooses=False)
            for seed in self.seeds[: settings.seeds]
            for start in self.models.names
        ]
        reported = self._tables("reported fits", [self._part(fit) for fit in fits])
        run.note(finetunings={task.name: self._note(rates)})
        rows = pa.concat_tables([*floors, *chosen, *reported])
        run.folder.replace_family(_TABLE, task.name, rows, column="task")

    def _tables(self, title: str, parts: Sequence[Part]) -> list[pa.Table]:
        shared = Shared(f"{self._folder}", self.inputs)
        return self.study.rows(f"{self.inputs.task.name}, {title}", parts, shared)

    @property
    def _folder(self) -> str:
        inputs = self.inputs
        apart = {"tasks", "starts", "learning_rates", "seeds", "choice_seeds"}
        key = self.study.key(
            task=inputs.task.fingerprint,
            settings=inputs.settings.model_dump(mode="json", exclude=apart),
            tokenizer=self.models.tokenizer.fingerprint,
            starts={
                name: inputs.starts[name, self.seeds[0]].fingerprint for name in self.models.names
            },
        )
        return f"finetune-{inputs.task.name}-{key}"

    def _part(self, fit: Fit) -> Part:
        use = "choice" if fit.chooses else "reported"
        return Part(
            f"{self._folder}/{fit.start}-{use}-{fit.lr:g}",
            fit.seed,
            partial(_fit_rows, fit=fit, run_id=self.study.run.run_id),
            f"{fit.start}, rate {fit.lr:g}, seed {fit.seed}",
        )

    def _floor(self, name: str) -> Part:
        origin = {"run_id": self.study.run.run_id, "seed": self.study.run.config.seed}
        rows = partial(_floor_rows, name=name, origin=origin)
        return Part(f"{self._folder}/{name}", 0, rows, name)

    def _rates(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return each start's rate: the best mean score on what is held out, then lowest loss.

        Raises:
            WorkError: every training of a start diverged.
        """
        metric, rates = self.inputs.task.metric, {}
        for start in self.models.names:
            means = []
            for lr in self.inputs.settings.learning_rates:
                own = [row for row in rows if (row["start"], row["lr"]) == (start, lr)]
                if all(row[metric] is not None and row["loss"] is not None for row in own):
                    score, loss = (
                        sum(row[name] for row in own) / len(own) for name in (metric, "loss")
                    )
                    means.append((-score, loss, lr))
            if not means:
                raise WorkError(
                    f"every fine-tuning from {start} diverged: no loss stayed finite",
                    remedy="lower finetune.learning_rates",
                )
            rates[start] = min(means)[-1]
        return rates

    def _note(self, rates: Mapping[str, float]) -> dict[str, Any]:
        task, inputs = self.inputs.task, self.inputs
        length = inputs.settings.max_length or self.models.shape.block_size
        return {
            "about": list(task.about),
            "labels": list(task.labels),
            "metric": task.metric,
            "train": len(task.train),
            "held_out": int(task.held_out.sum()),
            "reported": len(task.reported),
            "overlapping": task.n_overlapping,
            "cut": inputs.train.n_cut + inputs.reported.n_cut,
            "max_length": length,
            "rates": dict(rates),
            "settings": inputs.settings.model_dump(mode="json", exclude={"tasks"}),
        }


def _fit_rows(inputs: FitInputs, *, fit: Fit, run_id: str) -> list[Row]:
    fitted = inputs.fitted(fit)
    row = {
        "run_id": run_id,
        "seed": fit.seed,
        "start": fit.start,
        "chooses": fit.chooses,
        "lr": fit.lr,
        "train_loss": fitted.train_loss,
        "train_examples": fitted.n_examples,
        "tokens": fitted.n_tokens,
        **fitted.training.columns,
    }
    return [row | _scores(inputs.task, fitted.predictions)]


def _floor_rows(inputs: FitInputs, *, name: str, origin: Row) -> list[Row]:
    with inputs.monitor.window() as window:
        predictions = floor_predictions(name, inputs.task)
    row = {
        **origin,
        "start": name,
        "chooses": False,
        "lr": None,
        "train_loss": None,
        "train_examples": len(inputs.task.train),
        "tokens": None,
        **window.measurement.columns,
    }
    return [row | _scores(inputs.task, predictions)]


def _scores(task: Task, predictions: Predictions | None) -> Row:
    """Return the columns of what a classifier says; nulls and empty lists if training diverged."""
    row: Row = {"task": task.name}
    if predictions is None:
        scores = dict.fromkeys(("loss", "accuracy", "matthews"))
        return row | scores | {"expected": [], "predicted": [], "documents": []}
    n_labels = len(task.labels)
    return row | {
        "loss": predictions.loss,
        "accuracy": predictions.score("accuracy", n_labels),
        "matthews": predictions.score("matthews", n_labels),
        "expected": predictions.expected.tolist(),
        "predicted": predictions.predicted.tolist(),
        "documents": predictions.documents.tolist(),
    }
