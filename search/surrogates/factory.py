"""The kinds of surrogates that settings may name: CLSO's own and those of other packages.

Another package offers a factory, called with a `GenomeSpace` and a seed, under the entry-point
group `clso.surrogates`; its name is then a `surrogate.kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from clso.plugins import Registry
from search.surrogates.interface import Surrogate, SurrogateFactory

if TYPE_CHECKING:
    from clso.genome import GenomeSpace
    from search.settings import SurrogateSettings

__all__ = ["OWN_SURROGATES", "SURROGATES", "surrogate_factory"]

_CLASSES: Mapping[str, str] = {
    "mlp": "MlpSurrogate",
    "random_forest": "RandomForestSurrogate",
    "ridge": "RidgeSurrogate",
    "gaussian_process": "GaussianProcessSurrogate",
    "gradient_boosting": "GradientBoostingSurrogate",
    "auto": "AutoSurrogate",
}


OWN_SURROGATES: Final = tuple(_CLASSES)
"""The kinds that no other package adds."""


def _made(kind: str, space: GenomeSpace, seed: int, **options: Any) -> Surrogate:  # noqa: ANN401
    # its library takes a second to import, so that waits until a surrogate is made
    module = import_module(f"search.surrogates.{kind}")
    surrogate: Surrogate = getattr(module, _CLASSES[kind])(space, seed, **options)
    return surrogate


SURROGATES: Final[Registry[Any]] = Registry(
    "clso.surrogates", {kind: partial(_made, kind) for kind in _CLASSES}
)
"""The factories by kind."""


def surrogate_factory(settings: SurrogateSettings) -> SurrogateFactory | None:
    """Return what makes surrogates of the kind that is set; `None` for `"none"`.

    Raises:
        ConfigError: the kind is a plug-in's that cannot be imported, or is unknown.
    """
    if settings.kind == "none":
        return None
    factory: Callable[..., Surrogate] = SURROGATES.get(settings.kind)
    if settings.kind == "auto":
        return partial(factory, min_correlation=settings.min_correlation)
    return factory
