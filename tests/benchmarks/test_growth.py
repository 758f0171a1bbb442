"""The growth of time and memory: the fitted exponent, and what counts as memory of the work."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.growth import AXES, Axis, Cost, Work, exponent, figure, measured

MIB = 1 << 20


@given(st.floats(0.1, 3), st.floats(1e-6, 1e3), st.integers(2, 7))
def test_the_exponent_of_a_power_is_its_own(power: float, factor: float, n_sizes: int) -> None:
    sizes = [10 * 2**step for step in range(n_sizes)]
    values = [factor * size**power for size in sizes]
    assert exponent(sizes, values) == pytest.approx(power, abs=1e-6)


def test_constant_costs_of_small_sizes_do_not_hide_the_exponent() -> None:
    sizes = [2**step for step in range(1, 13)]
    assert exponent(sizes, [100 + size**2 for size in sizes]) == pytest.approx(2, abs=0.15)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory as Linux tells it")
def test_memory_is_that_of_the_work_not_of_what_was_prepared() -> None:
    def prepare(size: int, _: Path) -> Work:
        # freed before the work: its peak must not count
        assert np.ones(4 * size * MIB, dtype=np.uint8).any()
        return lambda: np.ones(size * MIB, dtype=np.uint8)

    cost = measured(Axis("bytes", "write them", (64,), prepare), 64)
    assert cost.memory_bytes is not None
    assert 60 * MIB < cost.memory_bytes < 100 * MIB


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_each_axis_does_its_work_at_its_smallest_size(axis: Axis) -> None:
    assert list(axis.sizes) == sorted(set(axis.sizes))
    assert measured(axis, axis.sizes[0]).cpu_s > 0


def test_the_figure_has_a_panel_for_each_axis_and_a_line_for_each_quantity_measured() -> None:
    sizes = (8, 16, 32)
    costs = [Cost(size / 100, size * MIB) for size in sizes]
    untold = [Cost(size / 100, None) for size in sizes]
    drawn = figure([(AXES[0], sizes, costs), (AXES[1], sizes, untold)])
    shown = [axes for axes in drawn.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [axis.name for axis in AXES[:2]]
    assert [len(axes.lines) for axes in shown] == [2, 1]
