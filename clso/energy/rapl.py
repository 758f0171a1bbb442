"""Running average power limit: the energy counters of Intel and AMD processors, through sysfs.

Notation: a zone is a folder such as `intel-rapl:0` (name `package-0`) or `intel-rapl:0:2`
(name `dram`) with `energy_uj`, a counter of microjoules that restarts at 0 after
`max_energy_range_uj`. Source: Linux, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from clso.energy.meter import TICK_S, CountingMeter, Sampler
from clso.errors import MeterError

__all__ = ["RaplMeter"]

_POWERCAP = Path("/sys/class/powercap")
# A 65 kJ counter at 500 W wraps around every 130 s. Two wrap-arounds between readings go unseen.
# The shorter, the fewer restarts of a counter can be taken for a wrap-around.
_READ_EVERY_S = 5.0
# more than a package or its memory takes
_MOST_ZONE_W = 1_000.0
_PERMISSION_REMEDY = (
    "let your user read the counter, for example `sudo chmod a+r "
    "/sys/class/powercap/intel-rapl:*/energy_uj`, or use energy.meter=cpu_model"
)


class RaplMeter(CountingMeter):
    """The counter of a zone's folder, without its wrap-arounds; its joules are those of `device`.

    A thread reads it every `read_every_s` seconds, so that no wrap-around is missed. A counter that
    falls may also have begun anew (suspend, driver reload). It has if a wrap-around would stand for
    more than 1 kW since the last reading. Then the joules since that reading are lost, and counting
    goes on from the new value.

    Raises:
        MeterError: the counter is missing or may not be read.
    """

    source = "rapl"
    estimated = False

    def __init__(self, zone: Path, device: str, *, read_every_s: float = _READ_EVERY_S) -> None:
        super().__init__(device)
        self._counter = zone / "energy_uj"
        self._range_uj = _read_uj(zone / "max_energy_range_uj")
        self._last_uj = _read_uj(self._counter)
        self._last_s = time.monotonic()
        self._sampler = Sampler(self.read_j, read_every_s)

    @classmethod
    def available(cls, root: Path = _POWERCAP) -> Sequence[RaplMeter]:
        """Return a meter per processor package, and per memory zone beside a package.

        Zones inside a package (`core`, `uncore`) are part of its counter, `psys` contains the
        packages, and `intel-rapl-mmio` repeats them: none of these is read.

        Raises:
            MeterError: there is no package counter, or it may not be read.
        """
        names = {zone: _zone_name(zone) for zone in sorted(root.glob("intel-rapl:*"))}
        packages = [zone for zone, name in names.items() if name.startswith("package")]
        memories = [zone for zone, name in names.items() if name == "dram"]
        if not packages:
            raise MeterError(
                f"no RAPL counter under {root}: this kernel or virtual machine does not offer one",
                remedy="use energy.meter=auto or energy.meter=cpu_model",
            )
        with ExitStack() as opened:
            meters: list[RaplMeter] = []
            for kind, zones in (("cpu", packages), ("dram", memories)):
                for number, zone in enumerate(zones):
                    meters.append(cls(zone, kind if len(zones) == 1 else f"{kind}{number}"))
                    opened.callback(meters[-1].close)
            opened.pop_all()
        return meters

    def read_j(self) -> float:
        """Return the joules since the meter was made."""
        with self._lock:
            now_uj, now_s = _read_uj(self._counter), time.monotonic()
            step_uj, elapsed_s = now_uj - self._last_uj, now_s - self._last_s
            if step_uj >= 0:
                self._joules.add(step_uj / 1e6, elapsed_s)
            else:
                self._wrap_around((step_uj + self._range_uj) / 1e6, elapsed_s)
            self._last_uj, self._last_s = now_uj, now_s
            return self._joules.total_j

    def _wrap_around(self, step_j: float, elapsed_s: float) -> None:
        if elapsed_s < 0:
            self._joules.lose("the counter fell while the clock went back")
        elif 0 <= step_j <= _MOST_ZONE_W * (elapsed_s + TICK_S):
            self._joules.add(step_j, elapsed_s)
        else:
            self._joules.lose(
                f"the counter began anew: a wrap-around would be {step_j:g} J in {elapsed_s:.3g} s"
            )

    def close(self) -> None:
        """End the thread that watches for wrap-arounds."""
        self._sampler.close()


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _read_uj(path: Path) -> int:
    try:
        return int(path.read_text())
    except PermissionError as error:
        raise MeterError(f"no permission to read {path}", remedy=_PERMISSION_REMEDY) from error
    except (OSError, ValueError) as error:
        raise MeterError(
            f"cannot read the RAPL counter {path}: {error}",
            remedy="use energy.meter=auto or energy.meter=cpu_model",
        ) from error
