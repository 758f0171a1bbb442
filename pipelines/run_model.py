"""A model of a stored run: found by its name, opened, and exported."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import yaml

from clso.artifacts import Run, check_folder
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, ClsoError, DamageError
from pipelines.config import STUDY_SECTIONS
from pipelines.families import FAMILIES

if TYPE_CHECKING:  # loads torch
    from clso.models import StoredModel
    from clso.scoring import GenerativeModel

__all__ = ["RunModel"]


@dataclass(frozen=True)
class RunModel:
    """One model of a stored run; the folder `path` has its name."""

    run: Run
    path: Path

    @classmethod
    def find(cls, run: Run, name: str | None) -> RunModel:
        """Find a model of a run by its name; `None`: the model with the lowest validation loss.

        Raises:
            ArtifactError: the run has no such model, or no results that say which is the best.
        """
        folders = [cls(run, path) for path in run.path.glob("models/*")]
        models = {
            model.name: model
            for model in folders
            if model.is_plugin or (model.path / "model.safetensors").exists()
        }
        if name is None and models:
            name = next(iter(models)) if len(models) == 1 else _best(run, models)
        if name not in models:
            raise ArtifactError(
                f"run {run.run_id} has no model{'' if name is None else f' {name!r}'}",
                remedy=f"it has {', '.join(sorted(models))}"
                if models
                else "its search and its baseline are not finished",
            )
        return models[name]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def is_plugin(self) -> bool:
        """Whether it is of a plug-in family, whose package alone can open it."""
        families = self.run.config.get("families", ())
        return self.name in families and not FAMILIES.is_builtin(self.name)

    def open(self) -> StoredModel:
        """Load the model, to continue texts.

        Raises:
            ArtifactError: it is damaged.
            ClsoError: it is of a plug-in family and gives no distribution after a text.
        """
        # Late, because it takes seconds: mistakes are reported before.
        from clso.models import StoredModel

        if not self.is_plugin:
            return StoredModel.load(self.path)
        check_folder(self.path, remedy="make it again with the command that made the run")
        model = FAMILIES.get(self.name).load(self.path)
        if not hasattr(model, "distribution"):
            raise ClsoError(
                f"the models of the family {self.name} continue no text: they lack the method "
                "distribution(history)",
                remedy="name another model with --model, or add the method to the family's models",
            )
        dataset = self.run.path.parents[1] / "datasets" / self.run.manifest["data_fingerprint"]
        tokenizer = Tokenizer.load(dataset / "tokenizer.json")
        if tokenizer.fingerprint != self.run.manifest["dataset"]["tokenizer"]["sha256"]:
            raise DamageError(
                f"{dataset / 'tokenizer.json'} is not the tokenizer of {self.run.run_id}",
                remedy="delete the data set's folder; the run makes it again",
            )
        return StoredModel(
            cast("GenerativeModel", model),
            tokenizer,
            self.run.config["data"]["block_size"],
        )

    def export(self, to: Path) -> str:
        """Copy the checkpoint and its tokenizer, and return a sentence on how to load them.

        The folder also has a model card (`README.md`) and the configuration that made the model.

        Raises:
            ClsoError: it is of a plug-in family, or the target exists or lies in the run itself.
            ArtifactError: it is damaged, or the target cannot be written.
        """
        self.check_export(to)
        from clso.baseline.network_model import NetworkModel
        from clso.mixture.model import CrystallineMixture
        from clso.models import StoredModel
        from clso.report.card import model_card

        model = StoredModel.load(self.path).model
        card = model_card(
            self.run,
            self.name,
            is_mixture=isinstance(model, CrystallineMixture),
            is_network=isinstance(model, NetworkModel),
        )
        return self.write_folder(self.path, to, card)

    def write_folder(self, source: Path, to: Path, card: str) -> str:
        """Copy a model's folder with a card and the run's configuration; returns how to load it.

        Raises:
            ArtifactError: the model is damaged, or the target cannot be written.
        """
        from clso.baseline.network_model import NetworkModel
        from clso.checkpoint import new_folder
        from clso.hub import prepare_folder
        from clso.mixture.model import CrystallineMixture
        from clso.models import StoredModel
        from clso.report.card import CARD_CONFIG

        stored = StoredModel.load(source)
        # what made the model; the rest is of the machine, and may name its hosts
        apart = {"runtime", *STUDY_SECTIONS}
        made_by = {name: value for name, value in self.run.config.items() if name not in apart}
        config = yaml.safe_dump(made_by, sort_keys=False, default_flow_style=None)
        try:
            with new_folder(to) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
                prepare_folder(folder, stored)
                (folder / CARD_CONFIG).write_text(config, encoding="utf-8")
                (folder / "README.md").write_text(card, encoding="utf-8")
        except ArtifactError as error:
            raise ArtifactError(error.message, remedy="choose another --to") from error
        needs_clso = isinstance(stored.model, CrystallineMixture | NetworkModel)
        option = ", trust_remote_code=True" if needs_clso else ""
        load = f"AutoModelForCausalLM.from_pretrained({str(to)!r}{option})"
        needs = " where clso is installed" if needs_clso else ""
        return f"{to}: open it{needs} with transformers.{load}; README.md says more"

    def export_arpa(self, to: Path) -> str:
        """Write each plain n-gram function of a mixture as an ARPA file: `3-gram.arpa`, ...

        The words are the tokenizer's tokens. An n-gram alone is not the mixture: ARPA has no place
        for its other functions and its weights.

        Returns:
            A sentence that lists the files.

        Raises:
            ClsoError: as for `export`, or it has no plain n-gram functions.
            ArtifactError: it is damaged, or the target cannot be written.
        """
        self.check_export(to)
        from clso.checkpoint import new_folder
        from clso.mixture.counts import KneserNey, write_arpa
        from clso.mixture.model import CrystallineMixture
        from clso.models import StoredModel

        stored = StoredModel.load(self.path)
        if not isinstance(stored.model, CrystallineMixture):
            raise ClsoError(
                f"{self.name} is no mixture, and an ARPA file holds n-grams",
                remedy="export a mixture, such as --model mixture",
            )
        plain = [
            function
            for function in stored.model.functions
            if isinstance(function, KneserNey) and function.pattern.is_contiguous
        ]
        if not plain:
            names = ", ".join(function.name for function in stored.model.functions)
            raise ClsoError(
                f"{self.name} has no plain n-gram function such as kn(1,2), only {names}",
                remedy="search with a library of such functions alone",
            )
        backend = stored.tokenizer.backend
        words = [str(backend.id_to_token(token)) for token in range(stored.tokenizer.vocab_size)]
        files = {f"{len(function.pattern.elements) + 1}-gram.arpa": function for function in plain}
        with new_folder(to, checksums=False) as folder:
            for name, function in files.items():
                write_arpa(function, folder / name, words)
        return f"{to}: {', '.join(files)}; their words are the tokenizer's tokens"

    def check_export(self, to: Path) -> None:
        """Check that the model can be written to a folder.

        Raises:
            ClsoError: it is of a plug-in family, or the target exists or lies in the run itself.
        """
        if self.is_plugin:
            raise ClsoError(
                f"{self.name} is a model of another package, in a form that no other program reads",
                remedy=f"copy its folder {self.path}",
            )
        if to.exists():
            raise ClsoError(f"{to} exists already", remedy="name a folder that does not exist yet")
        if to.resolve().is_relative_to(self.run.path.resolve()):
            raise ClsoError(f"{to} lies in the run itself", remedy="name a folder outside of it")


def _best(run: Run, names: Collection[str]) -> str:
    rows = run.results.to_pylist() if run.has("results") else []
    losses: dict[str, float] = {
        row["model"]: row["validation_loss"]
        for row in rows
        if row["model"] in names and row["validation_loss"] is not None
    }
    if not losses:
        raise ArtifactError(
            f"run {run.run_id} has no results yet that say which of its models is the best",
            remedy=f"name one with --model: it has {', '.join(sorted(names))}",
        )
    return min(losses, key=losses.__getitem__)
