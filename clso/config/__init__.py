"""Typed configuration: YAML plus dotted overrides, every mistake reported at once."""

from clso.config.ablate import AblateConfig, FactorConfig, SavingsConfig
from clso.config.arms import Arm, ablation_arms, savings_arms
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
from clso.config.load import load_config, with_overrides
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
    "AblateConfig",
    "AnalysisConfig",
    "Arm",
    "BaselineConfig",
    "BlockSparseConfig",
    "BudgetConfig",
    "CirculantConfig",
    "DataConfig",
    "DimensionConfig",
    "EnergyConfig",
    "EvaluationConfig",
    "FactorConfig",
    "FamilyConfig",
    "FilesConfig",
    "FunctionGridConfig",
    "GptConfig",
    "HadamardConfig",
    "HubConfig",
    "KroneckerConfig",
    "LibraryConfig",
    "LocalSearchConfig",
    "LocalSearchSpaceConfig",
    "MixtureConfig",
    "ModelConfig",
    "MonarchConfig",
    "PackageConfig",
    "PermutationConfig",
    "QuantizedLowRankConfig",
    "RunConfig",
    "RuntimeConfig",
    "SavingsConfig",
    "SearchConfig",
    "SearchSpaceConfig",
    "SpectralConfig",
    "SplitFractions",
    "SurrogateConfig",
    "SurrogateSpaceConfig",
    "TokenizerConfig",
    "TuneConfig",
    "WarmStartConfig",
    "ZeroConfig",
    "ablation_arms",
    "load_config",
    "savings_arms",
    "with_overrides",
]
