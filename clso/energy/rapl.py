"""Running average power limit: the energy counters of Intel and AMD processors, through sysfs.

Notation: a zone is a folder such as `intel-rapl:0` (name `package-0`) or `intel-rapl:0:2`
(name `dram`) with `energy_uj`, a counter of microjoules that starts anew at
`max_energy_range_uj`. Source: Linux, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import threading
from pathlib import Path

from clso.energy.meter import Sampler
from clso.errors import MeterError

__all__ = ["POWERCAP", "RaplMeter", "rapl_meters"]

POWERCAP = Path("/sys/class/powercap")
# A 65 kJ counter at 500 W starts anew after 130 s; two rounds between readings would go unseen.
_READ_EVERY_S = 30.0
_PERMISSION_REMEDY = (
    "let your user read the counter, for example `sudo chmod a+r "
    "/sys/class/powercap/intel-rapl:*/energy_uj`, or use energy.meter=cpu_model"
)


class RaplMeter:
    """The counter of one zone, carried past its wrap-around.

    Args:
        zone: the folder with `energy_uj` and `max_energy_range_uj`.
        device: the name under which its joules are recorded.
        read_every_s: seconds between the readings that watch for a wrap-around.

    Raises:
        MeterError: the counter is not there or may not be read.
    """

    source = "rapl"
    estimated = False

    def __init__(self, zone: Path, device: str, *, read_every_s: float = _READ_EVERY_S) -> None:
        self.device = device
        self._counter = zone / "energy_uj"
        self._lock = threading.Lock()
        self._range_uj = _read_uj(zone / "max_energy_range_uj")
        self._last_uj = _read_uj(self._counter)
        self._total_uj = 0
        self._sampler = Sampler(self.read_j, read_every_s)

    def read_j(self) -> float:
        """Return the joules since the meter was made."""
        with self._lock:
            now_uj = _read_uj(self._counter)
            step_uj = now_uj - self._last_uj
            self._total_uj += step_uj if step_uj >= 0 else step_uj + self._range_uj
            self._last_uj = now_uj
            return self._total_uj / 1e6

    def close(self) -> None:
        """End the thread that watches for wrap-arounds."""
        self._sampler.close()


def rapl_meters(root: Path = POWERCAP) -> list[RaplMeter]:
    """Return a meter per processor package and per memory zone beside it.

    Zones inside a package (`core`, `uncore`) are part of its counter, `psys` contains the
    packages, and `intel-rapl-mmio` shows them again: none of these is read.

    Raises:
        MeterError: there is no package counter, or it may not be read.
    """
    zones: dict[str, list[Path]] = {"cpu": [], "dram": []}
    for zone in sorted(root.glob("intel-rapl:*")):
        name = _zone_name(zone)
        if name.startswith("package"):
            zones["cpu"].append(zone)
        elif name == "dram":
            zones["dram"].append(zone)
    if not zones["cpu"]:
        raise MeterError(
            f"no RAPL counter under {root}: this kernel or virtual machine does not offer one",
            remedy="use energy.meter=auto or energy.meter=cpu_model",
        )
    meters: list[RaplMeter] = []
    try:
        for kind, found in zones.items():
            for number, zone in enumerate(found):
                meters.append(RaplMeter(zone, kind if len(found) == 1 else f"{kind}{number}"))
    except MeterError:
        for meter in meters:
            meter.close()
        raise
    return meters


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
