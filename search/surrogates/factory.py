"""Which surrogate a search's settings ask for."""

from __future__ import annotations

from functools import partial

from search.settings import SurrogateSettings
from search.surrogates.auto import AutoSurrogate
from search.surrogates.gaussian_process import GaussianProcessSurrogate
from search.surrogates.gradient_boosting import GradientBoostingSurrogate
from search.surrogates.interface import SurrogateFactory
from search.surrogates.mlp import MlpSurrogate
from search.surrogates.random_forest import RandomForestSurrogate
from search.surrogates.ridge import RidgeSurrogate

__all__ = ["surrogate_factory"]


def surrogate_factory(settings: SurrogateSettings) -> SurrogateFactory | None:
    """Return what makes surrogates of the kind that is set; `None` for `"none"`."""
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
