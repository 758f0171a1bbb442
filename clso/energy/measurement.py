"""What a window of work took: seconds, and joules per device.

`None` means not measured and is never written as 0. Sums follow from that: a device whose energy
is unknown for a part of the work is unknown for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["DeviceEnergy", "Measurement"]


@dataclass(frozen=True, slots=True)
class DeviceEnergy:
    """The joules of one device.

    Attributes:
        device: `"cpu"`, `"dram"`, `"gpu0"`.
        energy_j: `None` if the meter failed or its counter stood still.
        source: the meter; several joined by `+` in a total over parts with different meters.
        estimated: the figure comes from a model or a recording, at least in part.
    """

    device: str
    energy_j: float | None
    source: str
    estimated: bool

    @property
    def sources(self) -> frozenset[str]:
        """The meters behind the figure, one by one."""
        return frozenset(self.source.split("+"))


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds of wall time and the energy of every metered device.

    The totals cover the devices that were measured, and `energy_source` says which meters those
    are, so that a figure that lacks a device cannot be taken for one that has it.
    """

    duration_s: float
    devices: tuple[DeviceEnergy, ...] = ()

    @property
    def _measured(self) -> tuple[DeviceEnergy, ...]:
        return tuple(device for device in self.devices if device.energy_j is not None)

    @property
    def energy_j(self) -> float | None:
        """Joules over all measured devices; `None` if there are none."""
        joules = [device.energy_j for device in self.devices if device.energy_j is not None]
        return sum(joules) if joules else None

    @property
    def energy_source(self) -> str | None:
        """The meters behind `energy_j`, sorted and joined by `+`; `None` if there are none."""
        sources = frozenset[str]().union(*(device.sources for device in self._measured))
        return "+".join(sorted(sources)) or None

    @property
    def estimated(self) -> bool | None:
        """Whether any part of `energy_j` is modelled; `None` if nothing was measured."""
        measured = self._measured
        return any(device.estimated for device in measured) if measured else None

    @property
    def mean_power_w(self) -> float | None:
        """`energy_j / duration_s`; `None` if either is missing."""
        energy_j = self.energy_j
        return energy_j / self.duration_s if energy_j is not None and self.duration_s > 0 else None

    @classmethod
    def total(cls, parts: Iterable[Measurement]) -> Measurement:
        """Add up successive pieces of work, device by device.

        A device that one of the parts did not measure has `energy_j=None` in the total. Parts
        that took no time and have no devices change nothing.
        """
        parts = tuple(part for part in parts if part.duration_s > 0 or part.devices)
        by_device = [{device.device: device for device in part.devices} for part in parts]
        names = dict.fromkeys(name for devices in by_device for name in devices)
        totals = []
        for name in names:
            found = [devices[name] for devices in by_device if name in devices]
            joules = [device.energy_j for device in found if device.energy_j is not None]
            totals.append(
                DeviceEnergy(
                    device=name,
                    energy_j=sum(joules) if len(joules) == len(parts) else None,
                    source="+".join(sorted(frozenset[str]().union(*(d.sources for d in found)))),
                    estimated=any(device.estimated for device in found),
                )
            )
        return cls(duration_s=sum(part.duration_s for part in parts), devices=tuple(totals))

    def split(self, weights: Sequence[float]) -> list[Measurement]:
        r"""Return the shares of pieces of work that were measured together.

        Piece i gets :math:`w_i / \sum_j w_j` of the seconds and joules; where all weights are 0,
        the pieces get equal shares.

        Args:
            weights: how much work each piece was, such as its tokens, `(n,)`, >= 0.
        """
        total = sum(weights)
        fractions = [weight / total if total else 1 / len(weights) for weight in weights]
        return [
            Measurement(
                duration_s=self.duration_s * fraction,
                devices=tuple(
                    replace(
                        device,
                        energy_j=None if device.energy_j is None else device.energy_j * fraction,
                    )
                    for device in self.devices
                ),
            )
            for fraction in fractions
        ]

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values; `from_record` is its inverse."""
        return {
            "duration_s": self.duration_s,
            "devices": [
                {
                    "device": device.device,
                    "energy_j": device.energy_j,
                    "source": device.source,
                    "estimated": device.estimated,
                }
                for device in self.devices
            ],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Measurement:
        """Rebuild a measurement from `to_record`."""
        return cls(
            duration_s=float(record["duration_s"]),
            devices=tuple(DeviceEnergy(**device) for device in record["devices"]),
        )
