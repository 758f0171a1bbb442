"""Typed configuration: YAML plus dotted overrides, every mistake reported at once."""

from clso.config.load import load_config
from clso.config.mixture import FunctionGridConfig, MixtureConfig
from clso.config.schema import (
    AnalysisConfig,
    BaselineConfig,
    BlockSparseConfig,
    DataConfig,
    EnergyConfig,
    EvaluationConfig,
    FamilyConfig,
    FilesConfig,
    GptConfig,
    HubConfig,
    LibraryConfig,
    ModelConfig,
    PackageConfig,
    QuantizedLowRankConfig,
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
    "DataConfig",
    "EnergyConfig",
    "EvaluationConfig",
    "FamilyConfig",
    "FilesConfig",
    "FunctionGridConfig",
    "GptConfig",
    "HubConfig",
    "LibraryConfig",
    "LocalSearchConfig",
    "MixtureConfig",
    "ModelConfig",
    "PackageConfig",
    "QuantizedLowRankConfig",
    "RunConfig",
    "RuntimeConfig",
    "SearchConfig",
    "SpectralConfig",
    "SplitFractions",
    "SurrogateConfig",
    "TokenizerConfig",
    "WarmStartConfig",
    "load_config",
]
