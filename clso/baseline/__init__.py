"""The models to beat: AdamW's GPT-2 of the same shape, and stronger networks, on the same tokens.

Importing this package loads `transformers`, which takes seconds.
"""

from clso.baseline.model import AdamwGpt2
from clso.baseline.plan import TrainingPlan, Trial
from clso.baseline.settings import BaselineSettings, NetworkSettings, OpponentsSettings
from clso.baseline.step import TrainingStep
from clso.baseline.sweep import Sweep, SweepResult
from clso.baseline.train import TrialResult, train_trial
from clso.baseline.trainable import Blocks, Trainable

__all__ = [
    "AdamwGpt2",
    "BaselineSettings",
    "Blocks",
    "NetworkSettings",
    "OpponentsSettings",
    "Sweep",
    "SweepResult",
    "Trainable",
    "TrainingPlan",
    "TrainingStep",
    "Trial",
    "TrialResult",
    "train_trial",
]
