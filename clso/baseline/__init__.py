"""AdamW on the same shape and tokens, given its best: what every other model has to beat.

`from clso.baseline import run_sweep` loads `transformers`, which takes seconds.
"""

from clso.baseline.model import AdamwGpt2, new_gpt2
from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import BaselineSettings
from clso.baseline.step import TrainingStep
from clso.baseline.sweep import SweepResult, run_sweep
from clso.baseline.train import Blocks, TrialResult, train_trial

__all__ = [
    "AdamwGpt2",
    "BaselineSettings",
    "Blocks",
    "SweepResult",
    "TrainingPlan",
    "TrainingStep",
    "Trial",
    "TrialResult",
    "new_gpt2",
    "run_sweep",
    "train_trial",
]
