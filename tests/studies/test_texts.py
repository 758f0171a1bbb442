"""What the studies of several texts say of their tables."""

from typing import Any

import numpy as np
import pytest

from clso.artifacts import table_from_rows
from clso.statistics.paired import Difference
from clso.studies.continual import Continual
from clso.studies.multitask import Multitask
from clso.studies.transfer import Transfer

METER = {"energy_source": "rapl", "estimated": False, "duration_s": 1.0}
LOSSES = {"scratch": 4.0, "library": 5.0, "genome": 4.25, "model": 5.5, "bigram": 4.5}
JOULES = {"scratch": 40.0, "library": 30.0, "genome": 10.0, "model": 0.0, "bigram": 1.0}


def of_text(seed: int, loss: float, joules: float, **more: object) -> dict[str, Any]:
    return {
        "run_id": "run",
        "seed": seed,
        "family": "gpt",
        "genome": [1],
        "loss": None,
        "held_back_loss": None,
        "evaluations": 0,
        "library_energy_j": joules,
        "search_energy_j": 0.0,
        "energy_j": joules,
        "test_loss": loss,
        "ci_low": None,
        "ci_high": None,
        "block_ci_low": None,
        "block_ci_high": None,
        "test_tokens": 10,
        "stored_bytes": 10,
        **METER,
        **more,
    }


def moves(n_seeds: int = 3, **changed: object) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(n_seeds):
        text = rng.normal()  # a text that is hard is hard for every arm
        for arm, loss in LOSSES.items():
            source = None if arm in ("scratch", "bigram") else "a"
            more = {"source": source, "target": "b", "arm": arm, **changed}
            rows.append(of_text(seed, loss + text, JOULES[arm], **more))
    return rows


def test_differences_are_paired_by_seed() -> None:
    transfer = Transfer(table_from_rows(moves(), "transfer"), "gpt")
    assert transfer.pairs == [("a", "b")]
    for moved in transfer.moved("a", "b"):
        assert moved.against.mean == pytest.approx(LOSSES[moved.arm] - LOSSES["scratch"])
        # the spread of the texts is in the losses and not in the differences
        assert moved.against.high - moved.against.low < 1e-9 < moved.loss.high - moved.loss.low
        assert moved.saved == pytest.approx(1 - JOULES[moved.arm] / JOULES["scratch"])
        assert moved.n_seeds == 3


def test_seeds_without_a_scratch_are_left_out_of_differences() -> None:
    rows = [r for r in moves() if (r["arm"], r["seed"]) != ("scratch", 1)]
    moved = Transfer(table_from_rows(rows, "transfer"), "gpt").moved("a", "b")
    assert {one.arm: one.n_seeds for one in moved}["library"] == 2


def test_joules_of_several_meters_are_not_compared() -> None:
    rows = moves()
    for row in rows:
        if row["arm"] == "library":
            row["energy_source"] = "nvml"
        if row["arm"] == "genome":
            row["energy_j"] = None
    saved = {
        one.arm: one.saved
        for one in Transfer(table_from_rows(rows, "transfer"), "gpt").moved("a", "b")
    }
    assert saved["library"] is None
    assert saved["genome"] is None
    assert saved["bigram"] == pytest.approx(1 - 1 / 40)


def test_work_that_was_not_done_saves_everything() -> None:
    rows = moves()
    for row in rows:
        if row["arm"] == "model":
            row |= {"energy_source": None, "estimated": None, "duration_s": 0.0}
    moved = Transfer(table_from_rows(rows, "transfer"), "gpt").moved("a", "b")
    assert {one.arm: one.saved for one in moved}["model"] == 1.0


def test_the_table_and_the_sentence_say_gain_and_loss() -> None:
    transfer = Transfer(table_from_rows(moves(), "transfer"), "gpt")
    assert "loses 1.000 nats and saves 25" in transfer.sentence("a", "b")
    (group, *rows) = transfer.table("title").rows
    assert group.texts()[0][0] == "a to b"
    assert [row.texts()[2][0] for row in rows] == ["—", "+1.000", "+0.250", "+1.500", "+0.500"]
    better = [row | {"test_loss": 1.0} if row["arm"] == "genome" else row for row in moves()]
    said = Transfer(table_from_rows(better, "transfer"), "gpt").sentence("a", "b")
    assert "own library, other genome gains" in said


def test_one_library_is_compared_with_own_ones_text_by_text() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(4):
        for text, hard in (("a", rng.normal()), ("b", rng.normal())):
            for library, more, size in (("own", 0.0, 100), ("pooled", 0.125, 60)):
                kind = {"library": library, "text": text}
                sizes = {"library_bytes": size, "used_bytes": size // 2}
                rows.append(of_text(seed, 4.0 + hard + more, 10.0, **kind, **sizes))
    multitask = Multitask(table_from_rows(rows, "multitask"), "gpt")
    assert multitask.kinds == ["own", "pooled"]
    for one in multitask.shared("pooled"):
        assert one.against.mean == pytest.approx(0.125)
        assert one.against.high - one.against.low < 1e-9
        assert one.n_seeds == 4
    assert multitask.mean_bytes("own") == (100.0, 50.0)
    assert "+0.125 nats on a, +0.125 nats on b, with 60" in multitask.sentence("pooled")
    assert len(multitask.table("title").rows) == 6


def stream() -> list[dict[str, Any]]:
    rows = []
    for seed in range(3):
        for method in ("genomes", "adamw"):
            for stage, learned in enumerate("abc", 1):
                for place, text in enumerate("abc", 1):
                    rise = 0.5 * (stage - place) + 0.1 * seed if method == "adamw" else 0.0
                    known = place <= stage
                    rows.append(
                        {
                            "run_id": "run",
                            "seed": seed,
                            "family": "gpt",
                            "method": method,
                            "stage": stage,
                            "learned": learned,
                            "text": text,
                            "test_loss": 4.0 + rise if known or method == "adamw" else None,
                            "forgetting": rise if known else None,
                            "second_half_loss": 3.0 if known else None,
                            "inferred_loss": 3.25 if method == "genomes" else None,
                            "inferred_share": 0.75 if method == "genomes" and known else None,
                            "averaged_loss": 4.5 if method == "genomes" else None,
                            "test_tokens": 10,
                            "stored_bytes": 10 * stage,
                            "energy_j": 2.0 * stage,
                            **METER,
                        }
                    )
    return rows


def test_forgetting_is_of_all_texts_but_the_last_after_the_last_stage() -> None:
    continual = Continual(table_from_rows(stream(), "continual"), "gpt")
    assert continual.texts == ["a", "b", "c"]
    # per seed the mean of two texts: 1.0 and 0.5, and a tenth for each seed
    expected = Difference.of(np.array([0.75, 0.85, 0.95]))
    forgotten = continual.forgetting("adamw")
    assert forgotten is not None
    assert forgotten.mean == pytest.approx(expected.mean)
    assert forgotten.low == pytest.approx(expected.low)
    kept = continual.forgetting("genomes")
    assert kept is not None
    assert kept.mean == 0.0


def test_joules_of_a_stream_are_those_of_its_stages_once() -> None:
    continual = Continual(table_from_rows(stream(), "continual"), "gpt")
    assert continual.energy_j("adamw") == 2.0 + 4.0 + 6.0
    unmeasured = [row | {"energy_j": None} if row["stage"] == 2 else row for row in stream()]
    assert Continual(table_from_rows(unmeasured, "continual"), "gpt").energy_j("adamw") is None


def test_texts_to_come_have_no_model_that_is_kept_for_them() -> None:
    continual = Continual(table_from_rows(stream(), "continual"), "gpt")
    rows = [row.texts() for row in continual.table("title").rows if row.emphasis != "group"]
    kept = rows[:3]
    assert [[cell[0] for cell in row[1:4]] for row in kept] == [
        ["4.000", "—", "—"],
        ["4.000", "4.000", "—"],
        ["4.000", "4.000", "4.000"],
    ]
    inference = continual.inference("title")
    assert [row.texts()[3][0] for row in inference.rows if row.emphasis != "group"] == [
        "75\u00a0%"
    ] * 3
