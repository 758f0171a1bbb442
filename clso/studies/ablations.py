"""The study `clso ablate`: every arm of a search against its base, and what searches picked.

Differences are arm minus base, seed by seed, so a negative number favours the arm. An arm is judged
by the loss on blocks that no search read. The p of all arms of a family are corrected together
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
from clso.report.formats import FINE_LOSS, NOT_MEASURED, P_VALUE, RATIO, SHARE, counted
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import INK, MUTED, interval_figure, styled
from clso.report.table import Column, Table
from clso.statistics.paired import CONFIDENCE, Difference, FloatArray, holm, signed_rank
from clso.statistics.picks import Genes, Similarity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Ablation", "Effect", "Selections"]

_BASE: Final = "base"
_ALL_GENES: Final = "all genes"
_FAR: Final = 20.0  # times the median end of an interval; beyond it the scale is logarithmic
_HALVES: Final = (
    "Searches read the first half of the validation blocks. The second half is held back: no "
    "search reads it."
)


Row = Mapping[str, Any]


@dataclass(frozen=True)
class Effect:
    """One arm against the base, losses in nats per token.

    Attributes:
        factor: the option that differs.
        level: the option's value.
        held_back_loss: mean over seeds, on the blocks that no search read.
        held_back: arm minus base, on the same blocks.
        searched: arm minus base, on the blocks that both searches read.
        p_value: of the paired t test on `held_back`, corrected.
        signed_rank_p: of Wilcoxon's test, corrected; `None` for too few seeds.
        energy_ratio: joules of the arm's searches per joule of the base's; `None`: not measured, or
            by other meters.
        n_seeds: number of seeds that arm and base have in common.
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
    """The searches of one family's arms, from the table `ablations`."""

    def __init__(self, table: pa.Table, family: str) -> None:
        rows = table.filter(pc.field("family") == family).to_pylist()
        base = {row["seed"]: row for row in rows if row["arm"] == _BASE}
        self.base_loss = float(_losses(list(base.values()))[:, 0].mean()) if base else None
        self.effects = _effects(rows, base)

    def sentence(self) -> str:
        """Say how many arms surely differ from the base, before and after the correction."""
        if not self.effects:
            return "There is no arm to compare with the base."
        lower, higher, unclear = Difference.tally([effect.held_back for effect in self.effects])
        p_values = [effect.p_value for effect in self.effects]
        sure = sum(p is not None and p < 1 - CONFIDENCE for p in p_values)
        n = len(self.effects)
        return (
            f"Held-back loss of {counted(n, 'arm')} against the base: {lower} lower, "
            f"{higher} higher, {unclear} undecided (their {SHARE.text(CONFIDENCE)} intervals "
            f"contain zero). After Holm's correction for {counted(n, 'comparison')}, {sure} "
            f"{'differs' if sure == 1 else 'differ'} at p < {1 - CONFIDENCE:.2f}."
        )

    def table(self, title: str) -> Table:
        """Return a row per arm, grouped by the option that differs."""
        n_seeds = max((effect.n_seeds for effect in self.effects), default=0)
        table = Table(
            f"{title}, {counted(n_seeds, 'seed')}; base {FINE_LOSS.text(self.base_loss)}",
            ["level", "held back", "difference", "p", "searched", "energy"],
            [
                "Nats per token. Difference: arm minus base on the held-back blocks, so a negative "
                f"number favours the arm; below it the {SHARE.text(CONFIDENCE)} t interval over "
                "seeds. Searched: the same on the blocks that the searches read.",
                "p: paired t test, below it Wilcoxon's signed-rank test, both with Holm's "
                "correction. Energy: joules of the arm per joule of the base.",
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
        means = [effect.held_back.mean for effect in effects]
        lows, highs = (
            [
                mean if (end := getattr(effect.held_back, name)) is None else end
                for effect, mean in zip(effects, means, strict=True)
            ]
            for name in ("low", "high")
        )
        figure, axes, heights = interval_figure(
            [(effect.factor.replace("_", " "), effect.level) for effect in effects],
            means,
            (lows, highs),
            color=color,
            label="held back",
        )
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        searched = [effect.searched.mean for effect in effects]
        axes.plot(searched, heights, "o", ms=5, mfc="none", mec=MUTED, label="searched")
        ends = np.abs([*lows, *highs, *searched])
        typical = float(np.median(ends))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if ends.max() > _FAR * typical > 0:
            # on a linear scale, a broken arm would press all others onto the line at zero
            axes.set_xscale("symlog", linthresh=2 * typical, linscale=4)
            axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=2 * typical))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\u2212"))
        axes.set_xlabel("arm minus base, nats per token (further left is better)")
        figure.legend(loc="outside upper right", ncols=2)
        return figure

    @classmethod
    def section(cls, run: Run, family: str, note: Mapping[str, Any]) -> ReportSection:
        """Return the section on a family that `clso ablate` has searched."""
        models = Models(run.manifest)
        title, color = models.title(family), models.color(family)
        ablation, selections = cls(run.ablations, family), Selections(run.selections, family)
        interval = f"{SHARE.text(CONFIDENCE)} intervals"
        return ReportSection(
            f"The {title}'s search, ablated",
            [
                f"{counted(note['seeds'], 'seed')} per arm, up to "
                f"{counted(note['evaluations'], 'evaluation')} per search. The mean held-back loss "
                f"of the base is {FINE_LOSS.text(ablation.base_loss)}. {_HALVES}",
                ablation.sentence(),
                Picture(
                    f"ablations-{family}",
                    partial(ablation.figure, color),
                    f"Differences to the base, paired by seed, with their {interval} (Student's "
                    "t); hollow: on the blocks that the searches read.",
                ),
                Picture(
                    f"selections-{family}",
                    partial(selections.figure, color),
                    f"Share of the finalists' genes that picked each family, with {interval} in "
                    "which a seed counts once (exact binomial for one gene, t for several). The "
                    "tick is the family's share of the library. All seeds pick from one library.",
                ),
                ablation.table(f"Ablation of the {title}'s search"),
                *([selections.table(title)] if selections.rows else []),
            ],
            f"ablations-{family}",
        )


class Selections:
    """What the base's searches picked: all genes together, then each gene that has a choice.

    It is read from the table `selections`.
    """

    def __init__(self, table: pa.Table, family: str) -> None:
        rows: list[Row] = table.filter(
            (pc.field("family") == family) & (pc.field("arm") == _BASE) & (pc.field("chance") < 1)
        ).to_pylist()
        self.rows = sorted(rows, key=lambda row: row["slot"] is not None)

    @staticmethod
    def rows_of(
        ablations: pa.Table,
        family: str,
        genes: Mapping[str, Sequence[Row]],
        similarity: Similarity | None = None,
    ) -> list[Row]:
        """Return rows of the table `selections`: an arm's, as `Genes.selections` has them.

        `genes` are by arm, as `Genes.describe` makes them; `similarity` is of the base's library.
        """
        own = ablations.filter(pc.field("family") == family)
        return [
            {"arm": arm, **row}
            for arm, described in genes.items()
            for row in Genes(described).selections(
                own.filter(pc.field("arm") == arm), similarity if arm == _BASE else None
            )
        ]

    def table(self, title: str) -> Table:
        """Return which families of the library the finalists picked, gene by gene."""
        table = Table(
            f"Families of the library that the {title}'s finalists picked",
            [
                "family",
                "picked",
                "chance",
                "",
                Column(
                    "similarity",
                    optional=1,
                    note="Similarity: mean absolute cosine between entries that two seeds picked / "
                    "between any two entries.",
                ),
            ],
            [
                f"Share of genes, mean over seeds; below it the {SHARE.text(CONFIDENCE)} interval "
                "(exact binomial for one gene, t for several), in which a seed counts once.",
            ],
        )
        for slot, group in groupby(self.rows, key=lambda row: row["slot"]):
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
    def figure(self, color: str) -> Figure | None:
        """Draw the picked share beside chance, for each gene and family."""
        from matplotlib.ticker import PercentFormatter

        rows = self.rows
        if not rows:
            return None
        lows, highs, picked, chance = (
            [row[name] for row in rows] for name in ("ci_low", "ci_high", "picked", "chance")
        )
        figure, axes, heights = interval_figure(
            [(row["slot"] or _ALL_GENES, row["entry_family"].replace("_", " ")) for row in rows],
            picked,
            (lows, highs),
            color=color,
            label="picked",
        )
        axes.plot(chance, heights, "|", markersize=10, markeredgewidth=2, color=INK, label="chance")
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("share of the finalists' genes")
        figure.legend(loc="outside upper right", ncols=2)
        return figure


def _effects(rows: Sequence[Row], base: Mapping[int, Row]) -> list[Effect]:
    """Return every arm against the base, in the order of the rows."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        if row["arm"] != _BASE and row["seed"] in base:
            arms.setdefault(row["arm"], []).append(row)
    pairs = [(own, [base[row["seed"]] for row in own]) for own in arms.values()]
    gaps = [_losses(own) - _losses(others) for own, others in pairs]  # (n_seeds, 2) each
    held_back = [Difference.of(gap[:, 0]) for gap in gaps]
    by_t = holm([difference.p_value for difference in held_back])
    by_rank = holm([signed_rank(gap[:, 0]) for gap in gaps])
    return [
        Effect(
            factor=str(own[0]["factor"]),
            level=str(own[0]["level"]),
            held_back_loss=float(_losses(own)[:, 0].mean()),
            held_back=difference,
            searched=Difference.of(gap[:, 1]),
            p_value=p_value,
            signed_rank_p=rank_p,
            energy_ratio=_energy_ratio(own, others),
            n_seeds=len(own),
        )
        for (own, others), gap, difference, p_value, rank_p in zip(
            pairs, gaps, held_back, by_t, by_rank, strict=True
        )
    ]


def _losses(rows: Sequence[Row]) -> FloatArray:
    """Return held-back and searched loss of each search, `(n_seeds, 2)`."""
    return np.array([[row["held_back_loss"], row["loss"]] for row in rows], dtype=np.float64)


def _energy_ratio(rows: Sequence[Row], base: Sequence[Row]) -> float | None:
    if len({row["energy_source"] for row in (*rows, *base)}) != 1 or rows[0]["energy_j"] is None:
        return None
    total, base_total = (sum(row["energy_j"] for row in side) for side in (rows, base))
    return float(total / base_total) if base_total > 0 else None
