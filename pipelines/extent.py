"""What a configuration takes, in bytes and seconds, before any work; and the refusal of too much.

The numbers follow from the settings alone. They count what grows with a setting that a user may
mistype by zeros: the weights of models and of their training, the entries of libraries, individuals
of a population, and the operations of searches and trainings. Files that are mapped, caches of a
fixed size and models of plug-in families are not counted.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from clso.baseline.settings import NetworkSettings
from clso.control_groups import group_folders
from clso.cores import available_cores
from clso.errors import ConfigError
from pipelines.config import RunConfig
from search.settings import SearchSettings

__all__ = ["Extent", "check_extent", "usable_memory"]

_PACKAGES = "the packages"
_PROCESS = 6e8  # bytes: Python, torch and the other packages
# bytes of addresses beyond those of memory in use: mapped libraries, stacks and arenas of threads;
# smoke has 3.2 GB of addresses at its peak, and 0.7 GB of memory
_ADDRESSES = 2.4e9
_FLOAT = 4
_ENTRY = 2000.0  # bytes of an entry as an object, beside its arrays
_COMPACT = 0.15  # of a dense matrix, that a drawn entry stores on average over families
_GENE = 60.0  # bytes of a gene in records, journal rows and the archive
_INDIVIDUAL = 1500.0  # the same of an individual without genes
_TRAINED = 4  # weights, gradient, and AdamW's two means
_FUNCTIONS = 200  # of the default library of a mixture
_GPT2_TOKENS = 50_257
_MAPPED_TOKENS = 1_000_000  # where the budget is all of a text that has not been read
_MIXED = 2e4  # operations of a mixture per target and function, with the fit of its weights
_FIXED_S = 45.0  # of a run that searches and trains next to nothing
_FLOPS = 2e10  # per second and core, as evaluations reach them
_LSTM = 2.0
_DEFAULT_HOURS = 30 * 24


@dataclass(frozen=True)
class Extent:
    """What a configuration takes.

    Attributes:
        bytes_of: memory by what takes it, each named by the settings that decide it.
        seconds_of: time on so many cores, likewise.
    """

    bytes_of: dict[str, float]
    seconds_of: dict[str, float]

    @classmethod
    def of(cls, config: RunConfig, cores: int) -> Extent:
        """Estimate a configuration on a number of cores."""
        shape = _Shape.of(config)
        taken: dict[str, float] = {_PACKAGES: _PROCESS}
        flops: dict[str, float] = {}
        if "gpt" in config.families:
            own = config.gpt
            spectral = own.spectral.size if own.spectral.enabled else 0
            drawn = own.library.size * (48 * shape.width**2 * _COMPACT + 4 * _ENTRY)
            taken["gpt.library.size, model.n_embd"] = drawn + spectral * 4 * _ENTRY
            taken["model.n_layer, model.n_embd"] = 2 * shape.parameters * _FLOAT
            genes = 4 * (1 if own.share_layers else shape.layers) + 2
            taken["search.population"] = _individuals(config.search, genes)
            per_token = 2 * shape.parameters_used + 4 * shape.layers * shape.width * shape.block
            targets = config.evaluation.batches * config.evaluation.batch_size * shape.block
            flops["search, evaluation, model"] = _evaluations(config.search) * targets * per_token
            taken["evaluation.batch_size"] = (
                3.0 * _FLOAT * shape.vocab * (config.evaluation.batch_size * shape.block)
            )
        if "mixture" in config.families:
            search = config.mixture.search or config.search
            taken["mixture: population"] = _individuals(search, config.mixture.slots + 1)
            targets = min(config.mixture.search_tokens or shape.tokens, shape.tokens)
            taken["mixture.search_tokens"] = 2.0 * targets * _FUNCTIONS * _FLOAT
            flops["mixture: search"] = (
                _evaluations(search) * targets * config.mixture.slots * _MIXED
            )
        trained: list[dict[str, float]] = [{}]
        for name, (size, batch, steps_flops) in _trainings(config, shape).items():
            activations = shape.vocab + 12 * shape.width * shape.layers
            trained.append(
                {
                    f"{name}: n_layer, n_embd": size * _TRAINED * _FLOAT,
                    f"{name}: batch_sizes": 3.0 * _FLOAT * batch * shape.block * activations,
                }
            )
            if not config.runtime.on_gpu:  # of which nothing is known here
                flops[name] = steps_flops
        # one is trained after the other
        largest: dict[str, float] = max(trained, key=lambda parts: sum(parts.values()))
        taken |= largest
        seconds = {name: count / (_FLOPS * cores) for name, count in flops.items()}
        return cls(taken, {"data, scores and report": _FIXED_S, **seconds})

    @property
    def memory_bytes(self) -> float:
        """The memory of all parts."""
        return sum(self.bytes_of.values())

    @property
    def duration_s(self) -> float:
        """The time of all parts."""
        return sum(self.seconds_of.values())


@dataclass(frozen=True)
class _Shape:
    layers: int
    width: int
    block: int
    vocab: int
    tokens: int

    @classmethod
    def of(cls, config: RunConfig) -> _Shape:
        return cls(
            config.model.n_layer,
            config.model.n_embd,
            config.data.block_size,
            config.tokenizer.most_tokens or _GPT2_TOKENS,
            config.data.train_tokens or _MAPPED_TOKENS,
        )

    @property
    def parameters(self) -> float:
        """Those of a GPT-2, whose readout is its embedding."""
        return 12.0 * self.layers * self.width**2 + self.width * (self.vocab + self.block)

    @property
    def parameters_used(self) -> float:
        """Those that a token is multiplied with."""
        return 12.0 * self.layers * self.width**2 + self.width * self.vocab


def _individuals(search: SearchSettings, genes: int) -> float:
    """Return the bytes of a population, and of all that it evaluates in the whole search."""
    stored = max(float(search.population), _evaluations(search))
    return stored * (_INDIVIDUAL + genes * _GENE)


def _evaluations(search: SearchSettings) -> float:
    most = float(search.population) * search.generations
    share = search.surrogate.full_eval_fraction if search.surrogate.kind != "none" else 1.0
    return min(max(most * share, search.population), search.max_evaluations or float("inf"))


def _trainings(config: RunConfig, shape: _Shape) -> dict[str, tuple[float, int, float]]:
    """Return parameters, largest batch and operations of each sweep, by its section."""
    found = {}
    if config.baseline.enabled:
        own = config.baseline
        trials = 1
        for grid in own.grids.values():
            trials = trials * len(grid) if own.strategy == "product" else trials + len(grid) - 1
        steps = 6.0 * shape.parameters_used * shape.tokens * own.passes * trials
        found["baseline"] = (shape.parameters, max(own.batch_sizes), steps)
    for index, model in enumerate(config.opponents.models):
        wide = _Shape(
            model.n_layer or shape.layers,
            model.n_embd or shape.width,
            shape.block,
            shape.vocab,
            shape.tokens,
        )
        steps = 6.0 * _network_work(model, wide) * shape.tokens * max(model.passes)
        name = f"opponents.models.{index}"
        found[name] = (wide.parameters, max(model.batch_sizes), steps)
    return found


def _network_work(model: NetworkSettings, shape: _Shape) -> float:
    """Return multiplications of a token, in units of those that a GPT-2 makes as fast."""
    inner = 12.0 * shape.layers * shape.width**2
    classes = model.classes or max(1, round(shape.vocab**0.5))
    outputs = shape.vocab if model.head == "full" else classes + shape.vocab / classes
    # an LSTM goes from token to token, in small products
    return (inner + shape.width * outputs) * (_LSTM if model.network == "lstm" else 1.0)


def usable_memory() -> int:
    """Return the bytes that this process may use: by its limit, its control groups, or all."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)  # ulimit -v
    if addresses != resource.RLIM_INFINITY:
        limits.append(max(0, addresses - int(_ADDRESSES)))
    for version, folder in group_folders("memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        try:
            limits.append(int((folder / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(limits)


def check_extent(config: RunConfig) -> None:
    """Refuse a configuration that takes more than there is, or than its settings allow.

    Raises:
        ConfigError: with the estimate, the limit, and the settings that decide most of it.
    """
    runtime = config.runtime
    extent = Extent.of(config, runtime.threads or available_cores())
    allowed = usable_memory() if runtime.memory_gb is None else runtime.memory_gb * 1e9
    if extent.memory_bytes > allowed:
        raise ConfigError(
            f"this takes about {_short(extent.memory_bytes / 1e9)} GB of memory, and "
            f"{_short(allowed / 1e9)} GB may be used; most of it follows from "
            f"{_most(extent.bytes_of)}",
            remedy="make that smaller; runtime.memory_gb sets another limit",
        )
    hours = extent.duration_s / 3600
    if hours > (runtime.hours or _DEFAULT_HOURS):
        raise ConfigError(
            f"this takes about {_short(hours)} hours, and {_short(runtime.hours or _DEFAULT_HOURS)}"
            f" are allowed; most of it follows from {_most(extent.seconds_of)}",
            remedy="make that smaller; runtime.hours sets another limit",
        )


def _most(parts: dict[str, float]) -> str:
    return max((name for name in parts if name != _PACKAGES), key=lambda name: parts[name])


def _short(value: float) -> str:
    return f"{value:,.1f}" if value < 1e6 else f"{value:.1g}"
