"""Which surrogate a search's settings ask for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from clso.genome import GenomeSpace
from search.settings import SurrogateSettings
from search.surrogates.auto import AutoSurrogate
from search.surrogates.gaussian_process import GaussianProcessSurrogate
from search.surrogates.gradient_boosting import GradientBoostingSurrogate
from search.surrogates.interface import Surrogate, SurrogateFactory
from search.surrogates.mlp import MlpSurrogate
from search.surrogates.random_forest import RandomForestSurrogate
from search.surrogates.ridge import RidgeSurrogate

__all__ = ["surrogate_factory"]


def surrogate_factory(settings: SurrogateSettings) -> SurrogateFactory | None:
    """Return what makes surrogates of the kind that is set; `None` for `"none"`."""
    make = _of_kind(settings)
    if make is None or settings.features:
        return make
    return partial(_without_features, make)


def _of_kind(settings: SurrogateSettings) -> SurrogateFactory | None:
    match settings.kind:
        case "mlp":
            return MlpSurrogate
        case "random_forest":
            return RandomForestSurrogate
        case "ridge":
            return RidgeSurrogate
        case "gaussian_process":
            return GaussianProcessSurrogate
        case "gradient_boosting":
            return GradientBoostingSurrogate
        case "auto":
            return partial(AutoSurrogate, min_correlation=settings.min_correlation)
        case "none":
            return None


def _without_features(make: SurrogateFactory, space: GenomeSpace, seed: int) -> Surrogate:
    return make(replace(space, describe=None), seed)
