"""The kinds of surrogates that settings may name: CLSO's own and the plug-ins of other packages.

Another package offers a factory, called with a `GenomeSpace` and a seed, in the entry-point group
`clso.surrogates`. The entry point's name is then a value of `surrogate.kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from clso.plugins import Registry
from search.surrogates.interface import (
    FloatArray,
    Surrogate,
    SurrogateFactory,
    neighbour_means,
)
from search.surrogates.normal_scores import NormalScoresSurrogate

if TYPE_CHECKING:
    from clso.energy import EnergyMonitor, Measurement
    from clso.genome import Genome, GenomeSpace
    from search.settings import SurrogateSettings

__all__ = ["OWN_SURROGATES", "SURROGATES", "metered", "surrogate_factory"]

_CLASSES: Mapping[str, str] = {
    "mlp": "MlpSurrogate",
    "random_forest": "RandomForestSurrogate",
    "ridge": "RidgeSurrogate",
    "gaussian_process": "GaussianProcessSurrogate",
    "gradient_boosting": "GradientBoostingSurrogate",
    "auto": "AutoSurrogate",
}

OWN_SURROGATES: Final = tuple(_CLASSES)
"""CLSO's own kinds."""


def _made(kind: str, space: GenomeSpace, seed: int, **options: Any) -> Surrogate:  # noqa: ANN401
    # scikit-learn and torch take seconds to import; they are imported when first needed
    module = import_module(f"search.surrogates.{kind}")
    surrogate: Surrogate = getattr(module, _CLASSES[kind])(space, seed, **options)
    return surrogate


SURROGATES: Final[Registry[Any]] = Registry(
    "clso.surrogates", {kind: partial(_made, kind) for kind in _CLASSES}
)
"""The factories by kind."""


def surrogate_factory(settings: SurrogateSettings) -> SurrogateFactory | None:
    """Return the factory of the kind in the settings; `None` for `"none"`.

    Raises:
        ConfigError: the kind is unknown, or a plug-in that cannot be imported.
    """
    if settings.kind == "none":
        return None
    factory: Callable[..., Surrogate] = SURROGATES.get(settings.kind)
    if settings.kind in _CLASSES:  # loaded here, so that no search pays for it
        import_module(f"search.surrogates.{settings.kind}")
    if settings.kind == "auto":
        factory = partial(factory, min_correlation=settings.min_correlation)
    if settings.kind == "gaussian_process":
        factory = partial(factory, tuned_on=settings.tuned_on)
    return partial(NormalScoresSurrogate, factory) if settings.normal_scores else factory


def metered(
    factory: SurrogateFactory, monitor: EnergyMonitor, charge: Callable[[Measurement], None]
) -> SurrogateFactory:
    """Return a factory of the same surrogates that charges construction, fits and predictions.

    `charge` receives the measurement of each step when the step ends.
    """
    return partial(_Metered, factory, monitor, charge)


class _Metered:
    def __init__(
        self,
        factory: SurrogateFactory,
        monitor: EnergyMonitor,
        charge: Callable[[Measurement], None],
        space: GenomeSpace,
        seed: int,
    ) -> None:
        self._monitor = monitor
        self._charge = charge
        with self._charged():
            self._surrogate = factory(space, seed)

    @property
    def kind(self) -> str | None:
        return self._surrogate.kind

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        with self._charged():
            self._surrogate.fit(genomes, losses)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        with self._charged():
            return self._surrogate.predict(genomes)

    def neighbour_means(self, genome: Genome) -> list[FloatArray] | None:
        with self._charged():
            return neighbour_means(self._surrogate, genome)

    @contextmanager
    def _charged(self) -> Iterator[None]:
        with self._monitor.window() as window:
            yield
        self._charge(window.measurement)
