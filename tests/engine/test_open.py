"""What an engine asks of its arguments and workers before it opens."""

from __future__ import annotations

from typing import Any

import pytest

from clso.energy import EnergySettings, RaplMeter
from clso.engine import open_engine
from clso.engine.cluster import Machines
from clso.engine.code import code_of_process
from clso.engine.worker import greet
from clso.errors import EngineError, MeterError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"kind": "dsk"}, "no engine 'dsk'\n  name one of local, dask, ray"),
        ({"kind": "local", "address": "tcp://127.0.0.1:1"}, "its address is tcp://127.0.0.1:1"),
        ({"kind": "local", "workers": 0}, "has 0 workers"),
    ],
)
def test_wrong_arguments_are_sentences(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence), open_engine(**arguments):
        pass


def test_a_worker_without_the_meter_is_named_with_the_remedy_of_the_meter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> list[RaplMeter]:
        raise MeterError("no RAPL counter", remedy="use energy.meter=auto")

    monkeypatch.setattr(RaplMeter, "available", missing)
    energy = EnergySettings(meter="rapl").model_dump()
    answer = greet({"code": code_of_process(), "energy": energy, "shares_machine": False})
    with pytest.raises(EngineError) as raised:
        Machines.of([answer])
    sentence, remedy = str(raised.value).split("\n  ")
    assert sentence.startswith("a worker on ")
    assert sentence.endswith(" cannot measure: no RAPL counter")
    assert remedy == "use energy.meter=auto"
