"""Typed configuration: YAML plus dotted overrides, every mistake reported at once."""

from clso.config.families import (
    BlockSparseConfig,
    CirculantConfig,
    FamilyConfig,
    HadamardConfig,
    KroneckerConfig,
    MonarchConfig,
    PermutationConfig,
    QuantizedLowRankConfig,
    ZeroConfig,
)
from clso.config.load import load_config
from clso.config.mixture import FunctionGridConfig, MixtureConfig
from clso.config.schema import (
    AnalysisConfig,
    BaselineConfig,
    DataConfig,
    EnergyConfig,
    EvaluationConfig,
    FilesConfig,
    GptConfig,
    HubConfig,
    LibraryConfig,
    ModelConfig,
    PackageConfig,
    RunConfig,
    RuntimeConfig,
    SplitFractions,
    TokenizerConfig,
)
from clso.config.search import LocalSearchConfig, SearchConfig, SurrogateConfig
from clso.config.spectral import SpectralConfig
from clso.config.warm_start import WarmStartConfig

__all__ = [
    "AnalysisConfig",
    "BaselineConfig",
    "BlockSparseConfig",
    "CirculantConfig",
    "DataConfig",
    "EnergyConfig",
    "EvaluationConfig",
    "FamilyConfig",
    "FilesConfig",
    "FunctionGridConfig",
    "GptConfig",
    "HadamardConfig",
    "HubConfig",
    "KroneckerConfig",
    "LibraryConfig",
    "LocalSearchConfig",
    "MixtureConfig",
    "ModelConfig",
    "MonarchConfig",
    "PackageConfig",
    "PermutationConfig",
    "QuantizedLowRankConfig",
    "RunConfig",
    "RuntimeConfig",
    "SearchConfig",
    "SpectralConfig",
    "SplitFractions",
    "SurrogateConfig",
    "TokenizerConfig",
    "WarmStartConfig",
    "ZeroConfig",
    "load_config",
]
