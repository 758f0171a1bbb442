"""The models of a run: their order, titles and colors.

Floors and baselines are known by name. Every other model was found by a search. The manifest has
the titles of models of plug-in families, `models = {name: {"title": ..., "family": ...}}`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from clso.report.style import PALETTE
from clso.statistics.bootstrap import BASELINES, FLOORS, ordered_models

__all__ = ["Models"]

Row = Mapping[str, Any]

_BUILT_IN: Final = {
    "uniform": ("uniform", "#8c959f"),
    "unigram": ("unigram", "#8c959f"),
    "bigram": ("bigram", "#57606a"),
    "kneser_ney": ("Kneser-Ney 5-gram", "#32383f"),
    "gpt": ("crystalline GPT", "#0072b2"),
    "mixture": ("crystalline mixture", "#009e73"),
    "opponent": ("strongest gradient model", "#882255"),
    "adamw": ("AdamW GPT-2", "#d55e00"),
    "warm_start": ("AdamW, warm start", "#e69f00"),
    "hybrid": ("hybrid", "#cc79a7"),
}

_RIVALS: Final = ("opponent", "adamw")


class Models:
    """Order, titles and colors of the models of one or several runs.

    Without manifests, only built-in models are known. The hybrid adds the network of the model
    `hybrid_network` to the model of `hybrid_family`, with the weight `network_share`; `None`: there
    is no hybrid.
    """

    def __init__(self, *manifests: Mapping[str, Any]) -> None:
        self._described: dict[str, Mapping[str, Any]] = {}
        self.hybrid_family = "mixture"
        self.hybrid_network = "adamw"
        self.network_share: float | None = None
        self._opponent = ""
        self._further = "adamw"  # trains the crystalline GPT further
        families: dict[str, None] = {}
        for manifest in manifests:
            families |= dict.fromkeys(manifest.get("config", {}).get("families", ()))
            self._described |= manifest.get("models", {})
            winner = manifest.get("opponents", {}).get("winner", {})
            self._opponent = winner.get("kind", self._opponent)
            self._further = manifest.get("warm_start", {}).get("optimizer", self._further)
            hybrid = manifest.get("hybrid", {})
            self.hybrid_family = hybrid.get("family", self.hybrid_family)
            self.hybrid_network = hybrid.get("network", self.hybrid_network)
            self.network_share = hybrid.get("network_weight", self.network_share)
        # the models of a family have the family's place
        self._order = [
            model
            for family in families
            for model in (
                family,
                *(
                    name
                    for name, described in self._described.items()
                    if described.get("family") == family and name != family
                ),
            )
        ]
        others = [name for name in (*self._order, *self._described) if name not in _BUILT_IN]
        self._colors = {
            name: PALETTE[-1 - place % len(PALETTE)]
            for place, name in enumerate(dict.fromkeys(others))
        }

    def title(self, name: str) -> str:
        """Return the title of a model or family: the manifest's, the built-in one or the name."""
        if name == "warm_start" and self._further == "muon":
            return "Muon, warm start"
        described = self._described.get(name, {}).get("title")
        return str(described or _BUILT_IN.get(name, (name, ""))[0])

    def kind(self, name: str) -> str:
        """Return what the strongest gradient model is, such as `LSTM, AdamW, 4 passes`."""
        return self._opponent if name == "opponent" else ""

    def subject(self, name: str) -> str:
        """Return the title with its article, as in a sentence."""
        title = self.title(name)
        return title if title.startswith(("AdamW", "Muon")) else f"the {title}"

    def color(self, name: str) -> str:
        """Return the color of a model or family in every figure."""
        if name in _BUILT_IN:
            return _BUILT_IN[name][1]
        return self._colors.get(name, PALETTE[-1])

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Return the names in the order of the result table, see `ordered_models`."""
        return ordered_models(list(names), self._order)

    @staticmethod
    def ranked_rivals(names: Collection[str]) -> list[str]:
        """Return the gradient models that others are compared with, the strongest first."""
        return [name for name in _RIVALS if name in names]

    @staticmethod
    def rivals(results: Iterable[Row]) -> list[Row]:
        """Return the results of the gradient models that others are compared with."""
        by_model = {row["model"]: row for row in results}
        return [by_model[name] for name in Models.ranked_rivals(by_model)]

    @staticmethod
    def rival(names: Iterable[str]) -> str:
        """Return the model that others are compared with first: the strongest that is there."""
        return next(iter(Models.ranked_rivals(list(names))), "adamw")

    @staticmethod
    def contender(results: Iterable[Row]) -> Row | None:
        """Return the result of the gradient-free model with the lowest validation loss, if any.

        Validation, not test, picks among several, so that the test split chooses nothing.
        """
        return min(
            (row for row in results if row["model"] not in (*FLOORS, *BASELINES)),
            key=lambda row: math.inf if row["validation_loss"] is None else row["validation_loss"],
            default=None,
        )
