"""Seconds and joules per device of a piece of work.

`None` means not measured and is never written as 0. So a device whose energy is unknown for a
part of the work has no total.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["WORKERS", "DeviceEnergy", "Measurement", "joined_sources"]

# the device of joules that other processes report; without it, none has worked
WORKERS = "workers"


@dataclass(frozen=True, slots=True)
class DeviceEnergy:
    """The joules of one device.

    Attributes:
        device: `"cpu"`, `"dram"`, `"gpu0"`; `"workers"`: all devices of other processes.
        energy_j: `None` if the meter failed or its counter did not move.
        source: the meter; in a total over several meters, their names joined by `+`.
        estimated: at least a part of the joules comes from a model or a recording.
        reason: why there are no joules, where that is known.
        needed: the work ran on this device, so without its joules there is no sum over devices.
    """

    device: str
    energy_j: float | None
    source: str
    estimated: bool
    reason: str = ""
    needed: bool = False

    def share(self, fraction: float) -> DeviceEnergy:
        """Return a fraction of the joules."""
        return self if self.energy_j is None else replace(self, energy_j=self.energy_j * fraction)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds of wall time, the energy of every metered device, and seconds of busy cores.

    `cpu_s` are the CPU seconds of this process, its finished children and its workers; they need no
    meter. The totals of energy cover the measured devices only. `energy_source` names their meters,
    so a total without a device differs visibly from a total with it. If a device has no joules that
    needs them (`DeviceEnergy.needed`), there is no total.
    """

    duration_s: float
    devices: tuple[DeviceEnergy, ...] = ()
    cpu_s: float | None = None

    @property
    def _measured(self) -> tuple[DeviceEnergy, ...]:
        if any(device.needed and device.energy_j is None for device in self.devices):
            return ()
        return tuple(device for device in self.devices if device.energy_j is not None)

    @property
    def energy_j(self) -> float | None:
        """Joules over all measured devices; `None` without them, or without a needed one."""
        joules = [device.energy_j for device in self._measured if device.energy_j is not None]
        return sum(joules) if joules else None

    @property
    def reason(self) -> str | None:
        """Why devices have no joules, joined; `None` if no reason is known."""
        return _joined_reasons(self.devices) or None

    @property
    def energy_source(self) -> str | None:
        """The measured devices' meters, sorted and joined by `+`; `None` if there are none."""
        return joined_sources(self._measured) or None

    @property
    def estimated(self) -> bool | None:
        """Whether any part of `energy_j` is an estimate; `None` if nothing was measured."""
        measured = self._measured
        return any(device.estimated for device in measured) if measured else None

    @property
    def mean_power_w(self) -> float | None:
        """`energy_j / duration_s`; `None` if either is missing."""
        energy_j = self.energy_j
        return energy_j / self.duration_s if energy_j is not None and self.duration_s > 0 else None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a measurement in a table."""
        return {
            "duration_s": self.duration_s,
            "energy_j": self.energy_j,
            "energy_source": self.energy_source,
            "estimated": self.estimated,
        }

    @classmethod
    def total(cls, parts: Iterable[Measurement]) -> Measurement:
        """Add up successive pieces of work, device by device.

        A device that one of the parts did not measure has `energy_j=None` in the total; a part
        without `workers` had none, which counts as 0 J. The same holds for `cpu_s`. Parts without
        time and without devices change nothing.
        """
        parts = tuple(part for part in parts if part.duration_s > 0 or part.devices)
        by_device: dict[str, list[DeviceEnergy]] = {}
        for part in parts:
            for device in part.devices:
                by_device.setdefault(device.device, []).append(device)
        totals = []
        for name, devices in by_device.items():
            joules = [device.energy_j for device in devices if device.energy_j is not None]
            expected = len(devices) if name == WORKERS else len(parts)
            totals.append(
                DeviceEnergy(
                    device=name,
                    energy_j=sum(joules) if len(joules) == expected else None,
                    source=joined_sources(devices),
                    estimated=any(device.estimated for device in devices),
                    reason=_joined_reasons(devices),
                    needed=any(device.needed for device in devices),
                )
            )
        busy = [part.cpu_s for part in parts if part.cpu_s is not None]
        return cls(
            duration_s=sum(part.duration_s for part in parts),
            devices=tuple(totals),
            cpu_s=sum(busy) if busy and len(busy) == len(parts) else None,
        )

    def split(self, weights: Sequence[float]) -> list[Measurement]:
        r"""Divide a measurement among n pieces of work that were measured together.

        Piece i of size :math:`w_i \ge 0`, such as its number of tokens, gets
        :math:`w_i / \sum_j w_j` of the seconds and joules; if all weights are 0, an equal share.
        """
        total = sum(weights)
        fractions = [weight / total if total else 1 / len(weights) for weight in weights]
        return [
            Measurement(
                duration_s=self.duration_s * fraction,
                devices=tuple(device.share(fraction) for device in self.devices),
                cpu_s=None if self.cpu_s is None else self.cpu_s * fraction,
            )
            for fraction in fractions
        ]

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values; `from_record` is its inverse."""
        devices = [asdict(device) for device in self.devices]
        return {"duration_s": self.duration_s, "devices": devices, "cpu_s": self.cpu_s}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Measurement:
        """Rebuild a measurement from `to_record`."""
        return cls(
            duration_s=float(record["duration_s"]),
            devices=tuple(DeviceEnergy(**device) for device in record["devices"]),
            cpu_s=record.get("cpu_s"),
        )


def joined_sources(devices: Iterable[DeviceEnergy]) -> str:
    """Return the names of the devices' meters, sorted and joined by `+`."""
    return "+".join(sorted({name for device in devices for name in device.source.split("+")}))


def _joined_reasons(devices: Iterable[DeviceEnergy]) -> str:
    return "; ".join(dict.fromkeys(device.reason for device in devices if device.reason))
