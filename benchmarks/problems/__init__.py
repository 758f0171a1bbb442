"""Discrete problems that others publish, as functions of a genome; each loss is to be minimised.

An instance's random numbers are drawn once, from its number. So a loss is a function of the genome,
and all searches of an instance search the same function. All problems are written from the papers;
files of instances are not copied.

Sources: Oh, Tomczak, Gavves and Welling 2019 (COMBO); Wan et al. 2021 (CASMOPOLITAN); Papenmeier,
Nardi and Poloczek 2023 (Bounce); Dreczkowski, Grosnit and Bou Ammar 2023 (MCBO).
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.problems.contamination import ContaminationControl
from benchmarks.problems.interface import DiscreteProblem, Relabelled
from benchmarks.problems.ising import IsingSparsification
from benchmarks.problems.max_sat import MaxSat
from benchmarks.problems.nk_landscape import NkLandscape
from benchmarks.problems.pest_control import PestControl

__all__ = [
    "PROBLEMS",
    "ContaminationControl",
    "DiscreteProblem",
    "IsingSparsification",
    "MaxSat",
    "NkLandscape",
    "PestControl",
    "Relabelled",
]

PROBLEMS: dict[str, Callable[[int], DiscreteProblem]] = {
    "pest_control": PestControl,
    "contamination": ContaminationControl,
    "ising": IsingSparsification,
    "max_sat": MaxSat,
    "nk_20_2": lambda instance: NkLandscape(instance, genes=20, others=2),
    "nk_40_6": lambda instance: NkLandscape(instance, genes=40, others=6),
}
"""The problems of the tables, made from the number of an instance."""
