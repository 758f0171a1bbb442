"""The models to beat: AdamW's GPT-2 of the same shape, and stronger networks, on the same tokens.

The names below are imported when they are first used: those of models load `transformers`, which
takes seconds, and settings do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clso.lazy import lazy_names

if TYPE_CHECKING:
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

_MODULES = {
    "AdamwGpt2": "clso.baseline.model",
    "BaselineSettings": "clso.baseline.settings",
    "Blocks": "clso.baseline.trainable",
    "NetworkSettings": "clso.baseline.settings",
    "OpponentsSettings": "clso.baseline.settings",
    "Sweep": "clso.baseline.sweep",
    "SweepResult": "clso.baseline.sweep",
    "Trainable": "clso.baseline.trainable",
    "TrainingPlan": "clso.baseline.plan",
    "TrainingStep": "clso.baseline.step",
    "Trial": "clso.baseline.plan",
    "TrialResult": "clso.baseline.train",
    "train_trial": "clso.baseline.train",
}

if not TYPE_CHECKING:  # or a misspelt name would have a type
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
