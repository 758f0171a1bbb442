"""The configuration of a run: YAML plus dotted overrides, every mistake reported at once."""

from pipelines.config.arms import Arm, ablation_arms, savings_arms
from pipelines.config.load import ConfigSource, load_config, parse_override, read_config
from pipelines.config.run import STUDY_SECTIONS, RunConfig
from pipelines.config.texts import text_configs

__all__ = [
    "STUDY_SECTIONS",
    "Arm",
    "ConfigSource",
    "RunConfig",
    "ablation_arms",
    "load_config",
    "parse_override",
    "read_config",
    "savings_arms",
    "text_configs",
]
