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
from clso.config.tune import (
    BudgetConfig,
    DimensionConfig,
    LocalSearchSpaceConfig,
    SearchSpaceConfig,
    SurrogateSpaceConfig,
    TuneConfig,
)
from clso.config.warm_start import WarmStartConfig

__all__ = [
    "AnalysisConfig",
    "BaselineConfig",
    "BlockSparseConfig",
    "BudgetConfig",
    "DataConfig",
    "DimensionConfig",
    "EnergyConfig",
    "EvaluationConfig",
    "FamilyConfig",
    "FilesConfig",
    "FunctionGridConfig",
    "GptConfig",
    "HubConfig",
    "LibraryConfig",
    "LocalSearchConfig",
    "LocalSearchSpaceConfig",
    "MixtureConfig",
    "ModelConfig",
    "PackageConfig",
    "QuantizedLowRankConfig",
    "RunConfig",
    "RuntimeConfig",
    "SearchConfig",
    "SearchSpaceConfig",
    "SpectralConfig",
    "SplitFractions",
    "SurrogateConfig",
    "SurrogateSpaceConfig",
    "TokenizerConfig",
    "TuneConfig",
    "WarmStartConfig",
    "load_config",
]
