"""The study `clso ablate`: every arm of a search against its base, and what searches picked.

Differences are arm minus base, seed by seed, so a negative number favours the arm. An arm is judged
by the loss on blocks that no search read; the p of all arms of a family are corrected together
(`clso.statistics.paired.holm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import FINE_LOSS, NOT_MEASURED, P_VALUE, RATIO, SHARE
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import INK, MUTED, row_figure, styled
from clso.report.table import Column, Table
from clso.statistics.paired import CONFIDENCE, Difference, holm, signed_rank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Ablation", "Effect", "ablation_sections", "selections_figure", "selections_table"]

_BASE: Final = "base"
_ALL_GENES: Final = "all genes"
_FAR: Final = 20.0  # times the median end of an interval: beyond, the scale is logarithmic
_HALVES: Final = (
    "Searches see the first half of the validation blocks; held back is the second half, which "
    "none of them reads."
)


@dataclass(frozen=True)
class Effect:
    """One arm against the base, losses in nats per token.

    Attributes:
        factor: the option that differs.
        level: its value.
        held_back_loss: mean over seeds, on what no search read.
        held_back: arm minus base, on the same.
        searched: arm minus base, on what both searched.
        p_value: of the paired t test on `held_back`, corrected.
        signed_rank_p: of Wilcoxon's test, corrected; `None` for too few seeds.
        energy_ratio: joules of its searches to those of the base's; `None`: not measured, or by
            other meters.
        n_seeds: that both have.
    """

    factor: str
    level: str
    held_back_loss: float
    held_back: Difference
    searched: Difference
    p_value: float | None
    signed_rank_p: float | None
    energy_ratio: float | None
    n_seeds: int


class Ablation:
    """The searches of one family's arms.

    Args:
        table: the table `ablations`.
        family: the model family searched.
    """

    def __init__(self, table: pa.Table, family: str) -> None:
        rows = table.filter(pc.field("family") == family).to_pylist()
        base = {row["seed"]: row for row in rows if row["arm"] == _BASE}
        self.base_loss = _mean_loss(list(base.values())) if base else None
        self.effects = _effects(rows, base)

    def sentence(self) -> str:
        """Say how many arms surely differ from the base, before and after the correction."""
        if not self.effects:
            return "There is no arm to compare with the base."
        lower, higher, still = Difference.tally([effect.held_back for effect in self.effects])
        p_values = [effect.p_value for effect in self.effects]
        sure = sum(p is not None and p < 1 - CONFIDENCE for p in p_values)
        n = len(self.effects)
        return (
            f"Of {n} arms against the base, {lower} have the lower loss on the blocks held "
            f"back and {higher} the higher; in {still} the {SHARE.text(CONFIDENCE)} interval "
            f"contains zero. After Holm's correction for {n} comparisons {sure} "
            f"{'differs' if sure == 1 else 'differ'} at p < {1 - CONFIDENCE:.2f}."
        )

    def table(self, title: str) -> Table:
        """Return a row per arm, grouped by the option that differs."""
        n_seeds = max((effect.n_seeds for effect in self.effects), default=0)
        table = Table(
            f"{title}, {n_seeds} seeds; base {FINE_LOSS.text(self.base_loss)}",
            [
                Column("level", text=True),
                *map(Column, ("held back", "difference", "p", "searched", "energy")),
            ],
            [
                "Nats per token; arm minus base, so a negative number favours the arm; below it "
                f"the {SHARE.text(CONFIDENCE)} t interval over seeds.",
                "p: paired t, below it Wilcoxon's signed ranks, both with Holm's correction. "
                "Energy: ratio to the base's.",
            ],
        )
        for factor, group in groupby(self.effects, key=lambda effect: effect.factor):
            table.add(factor.replace("_", " "), emphasis="group")
            for effect in group:
                table.add(
                    effect.level,
                    FINE_LOSS.text(effect.held_back_loss),
                    FINE_LOSS.difference(effect.held_back),
                    (P_VALUE.text(effect.p_value), P_VALUE.text(effect.signed_rank_p)),
                    FINE_LOSS.signed(effect.searched.mean),
                    RATIO.text(effect.energy_ratio),
                )
        return table

    @styled
    def figure(self, color: str) -> Figure | None:
        """Draw the paired differences to the base with their intervals, a line per level."""
        from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator

        effects = self.effects
        if not effects:
            return None
        figure, axes, heights = row_figure(
            [(effect.factor.replace("_", " "), effect.level) for effect in effects]
        )
        axes.axvline(0, color=MUTED, linewidth=1)
        means = [effect.held_back.mean for effect in effects]
        lows, highs = (
            [
                mean if (end := getattr(effect.held_back, name)) is None else end
                for effect, mean in zip(effects, means, strict=True)
            ]
            for name in ("low", "high")
        )
        axes.hlines(heights, lows, highs, color=color, linewidth=2)
        axes.plot(means, heights, "o", markersize=5, color=color, label="held back")
        searched = [effect.searched.mean for effect in effects]
        axes.plot(searched, heights, "o", ms=5, mfc="none", mec=MUTED, label="searched")
        ends = np.abs([*lows, *highs, *searched])
        typical = float(np.median(ends))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if ends.max() > _FAR * typical > 0:
            # a model that is broken must not press all others onto the line at zero
            axes.set_xscale("symlog", linthresh=2 * typical, linscale=4)
            axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=2 * typical))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\u2212"))
        axes.set_xlabel("arm minus base, nats per token (further left is better)")
        figure.legend(loc="outside upper right", ncols=2)
        return figure


def ablation_sections(run: Run) -> list[ReportSection]:
    """Return a section per family that `clso ablate` has searched."""
    notes = run.manifest.get("ablations", {})
    if not notes or not run.has("ablations") or not run.has("selections"):
        return []
    families = dict.fromkeys(run.ablations["family"].to_pylist())
    return [_section(run, family, notes[family]) for family in families if family in notes]


def _section(run: Run, family: str, note: Mapping[str, Any]) -> ReportSection:
    ablation, models = Ablation(run.ablations, family), Models(run.manifest)
    title = models.title(family)
    selections = selections_table(run.selections, family, title)
    base = FINE_LOSS.text(ablation.base_loss)
    return ReportSection(
        f"The {title}'s search, ablated",
        [
            f"{note['seeds']} seeds per arm, up to {note['evaluations']} evaluations per search. "
            f"The base has a mean held-back loss of {base}. {_HALVES}",
            ablation.sentence(),
            Picture(
                f"ablations-{family}",
                partial(ablation.figure, models.color(family)),
                "Paired differences to the base over seeds with their "
                f"{SHARE.text(CONFIDENCE)} t intervals; hollow: on what both searched.",
            ),
            Picture(
                f"selections-{family}",
                partial(selections_figure, run.selections, family, models.color(family)),
                "Share of the finalists' genes that picked each family, with "
                f"{SHARE.text(CONFIDENCE)} intervals in which a seed counts once (exact binomial "
                "for one gene, t for several); the tick is the family's share of the library. All "
                "seeds pick from one library.",
            ),
            ablation.table(f"Ablation of the {title}'s search"),
            *([selections] if selections.rows else []),
        ],
        f"ablations-{family}",
    )


def _effects(
    rows: Sequence[Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]
) -> list[Effect]:
    """Return every arm against the base, in the order of the rows."""
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["arm"] != _BASE and row["seed"] in base:
            arms.setdefault(row["arm"], []).append(row)
    gaps = {arm: _gaps(arm_rows, base) for arm, arm_rows in arms.items()}  # (n_seeds, 2) each
    held_back = [Difference.of(gap[:, 0]) for gap in gaps.values()]
    by_t = holm([difference.p_value for difference in held_back])
    by_rank = holm([signed_rank(gap[:, 0]) for gap in gaps.values()])
    return [
        Effect(
            factor=str(arm_rows[0]["factor"]),
            level=str(arm_rows[0]["level"]),
            held_back_loss=_mean_loss(arm_rows),
            held_back=difference,
            searched=Difference.of(gaps[arm][:, 1]),
            p_value=p_value,
            signed_rank_p=rank_p,
            energy_ratio=_energy_ratio(arm_rows, [base[row["seed"]] for row in arm_rows]),
            n_seeds=len(arm_rows),
        )
        for (arm, arm_rows), difference, p_value, rank_p in zip(
            arms.items(), held_back, by_t, by_rank, strict=True
        )
    ]


def _gaps(rows: Sequence[Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]) -> np.ndarray:
    def losses(row: Mapping[str, Any]) -> np.ndarray:
        return np.array([row["held_back_loss"], row["loss"]], dtype=np.float64)

    return np.array([losses(row) - losses(base[row["seed"]]) for row in rows])


def _mean_loss(rows: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([row["held_back_loss"] for row in rows]))


def _energy_ratio(
    rows: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]
) -> float | None:
    if len({row["energy_source"] for row in (*rows, *base)}) != 1 or rows[0]["energy_j"] is None:
        return None
    joules = [[row["energy_j"] for row in side] for side in (rows, base)]
    total, base_total = np.asarray(joules, dtype=np.float64).sum(axis=1).tolist()
    return total / base_total if base_total > 0 else None


def _selected(selections: pa.Table, family: str) -> list[dict[str, Any]]:
    """Return what the base's searches picked: all genes, then each gene that has a choice."""
    rows: list[dict[str, Any]] = selections.filter(
        (pc.field("family") == family) & (pc.field("arm") == _BASE) & (pc.field("chance") < 1)
    ).to_pylist()
    return sorted(rows, key=lambda row: row["slot"] is not None)


def selections_table(selections: pa.Table, family: str, title: str) -> Table:
    """Return which families of the library the base's finalists picked, gene by gene."""
    table = Table(
        f"Families of the library that the {title}'s finalists picked",
        [
            Column("family", text=True),
            *map(Column, ("picked", "chance", "")),
            Column("similarity", optional=1),
        ],
        [
            f"Share of genes, mean over seeds; below it the {SHARE.text(CONFIDENCE)} interval, "
            "exact binomial for one gene and t for several; a seed counts once.",
            "Similarity: mean absolute cosine between the entries of two seeds / between any two "
            "entries.",
        ],
    )
    for slot, group in groupby(_selected(selections, family), key=lambda row: row["slot"]):
        table.add(slot or _ALL_GENES, emphasis="group")
        for row in group:
            low, high, chance = row["ci_low"], row["ci_high"], row["chance"]
            similarities = [
                NOT_MEASURED if mean is None else f"{mean:.2f}"
                for mean in (row["similarity"], row["library_similarity"])
            ]
            table.add(
                row["entry_family"].replace("_", " "),
                (SHARE.text(row["picked"]), f"{SHARE.text(low)} to {SHARE.text(high)}"),
                SHARE.text(chance),
                "more" if low > chance else "less" if high < chance else "",
                " / ".join(similarities),
            )
    return table


@styled
def selections_figure(selections: pa.Table, family: str, color: str) -> Figure | None:
    """Draw the share that the base's searches picked, beside chance, per gene and family."""
    from matplotlib.ticker import PercentFormatter

    rows = _selected(selections, family)
    if not rows:
        return None
    figure, axes, heights = row_figure(
        [(row["slot"] or _ALL_GENES, row["entry_family"].replace("_", " ")) for row in rows]
    )
    lows, highs, picked, chance = (
        [row[name] for row in rows] for name in ("ci_low", "ci_high", "picked", "chance")
    )
    axes.hlines(heights, lows, highs, color=color, linewidth=2)
    axes.plot(picked, heights, "o", markersize=5, color=color, label="picked")
    axes.plot(chance, heights, "|", markersize=10, markeredgewidth=2, color=INK, label="chance")
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the finalists' genes")
    figure.legend(loc="outside upper right", ncols=2)
    return figure
