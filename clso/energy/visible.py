"""Which GPUs this process works on, by UUID: CUDA's own order differs from NVML's.

CUDA counts the fastest GPU first (unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`) and leaves out those that
may not be used; NVML counts along the PCI bus. So CUDA is asked for its UUIDs. Where it does not
answer, `CUDA_VISIBLE_DEVICES` is read as CUDA reads it. Source: CUDA programming guide, environment
variables; MIG user guide, device names.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Gpu", "Slice", "Visible", "cuda_uuids", "uuid_key", "visible_gpus"]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# A process of its own: after cuInit, a forked process cannot use CUDA.
_ASK = """
import ctypes, sys, uuid
cuda = ctypes.CDLL(sys.argv[1])
count = ctypes.c_int()
if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
    sys.exit(1)
get = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
for number in range(count.value):
    device, name = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    if cuda.cuDeviceGet(ctypes.byref(device), number) or get(ctypes.byref(name), device):
        sys.exit(1)
    print(uuid.UUID(bytes=bytes(name)))
"""
_ASK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Slice:
    """A MIG slice of a GPU; `whole`: it is known to be all of the GPU."""

    uuid: str
    whole: bool


@dataclass(frozen=True)
class Gpu:
    """A GPU as NVML shows it.

    Attributes:
        index: in NVML's order.
        handle: NVML's; `None` if NVML refuses the GPU.
        uuid: empty if NVML refuses the GPU.
        name: of the product; empty if not known.
        slices: `None`: the GPU is not divided (MIG).
        reason: why NVML refuses the GPU.
    """

    index: int
    handle: Any | None
    uuid: str = ""
    name: str = ""
    slices: tuple[Slice, ...] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Visible:
    """A GPU that this process may use; `reason`: why it has no counter, empty if it has one."""

    device: str
    gpu: Gpu | None
    uuids: frozenset[str]
    reason: str = ""


def uuid_key(uuid: str) -> str:
    """Return a UUID as torch, CUDA and NVML all have it: without `GPU-` or `MIG-`."""
    return re.sub(r"^(GPU|MIG)-", "", uuid.strip()).lower()


def cuda_uuids() -> list[str] | None:
    """Return the UUIDs of CUDA's GPUs, in its order; `None` if CUDA does not answer."""
    try:
        ctypes.CDLL(_LIBRARY)
        answer = subprocess.run(  # noqa: S603 - this Python and a program of this module
            [sys.executable, "-c", _ASK, _LIBRARY],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split()


def visible_gpus(
    gpus: Sequence[Gpu], environment: Mapping[str, str], cuda: Sequence[str] | None
) -> list[Visible]:
    """Return the GPUs of this process in NVML's order.

    Args:
        gpus: all that NVML counts.
        environment: with `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER`, if they are set.
        cuda: what CUDA itself says; `None`: nothing.
    """
    if cuda is not None:
        found = [_by_uuid(gpus, uuid) for uuid in cuda]
    else:
        found = list(_by_setting(gpus, environment))
    unique = {visible.device: visible for visible in found}
    return sorted(unique.values(), key=lambda seen: seen.gpu.index if seen.gpu else len(gpus))


def _by_uuid(gpus: Sequence[Gpu], uuid: str) -> Visible:
    key = uuid_key(uuid)
    for gpu in gpus:
        if gpu.uuid and uuid_key(gpu.uuid) == key:
            return _visible(gpu)
        for part in gpu.slices or ():
            if uuid_key(part.uuid) == key:
                return _visible(gpu, part)
    return _unknown(gpus, uuid)


def _unknown(gpus: Sequence[Gpu], uuid: str) -> Visible:
    """Return a GPU that CUDA has and NVML does not name: the one it refuses, if there is one."""
    refused = [gpu for gpu in gpus if gpu.reason]
    if len(refused) == 1:
        return _visible(refused[0])
    reason = refused[0].reason if refused else f"NVML does not show the GPU {uuid} that CUDA uses"
    return Visible(f"gpu-{uuid_key(uuid)}", None, frozenset({uuid_key(uuid)}), reason)


def _by_setting(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Iterator[Visible]:
    """Parse `CUDA_VISIBLE_DEVICES` as CUDA does: GPUs after an unknown entry are hidden."""
    setting = environment.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        yield from map(_visible, gpus)
        return
    entries = [entry.strip() for entry in setting.split(",")]
    by_bus = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    unlike = len({gpu.name for gpu in gpus if gpu.name}) > 1
    every = {str(gpu.index) for gpu in gpus} <= set(entries)
    for entry in entries:
        visible = _named(gpus, entry)
        if visible is None:
            return
        if entry.isdecimal() and unlike and not by_bus and not every:
            yield Visible(
                visible.device,
                visible.gpu,
                frozenset(),
                f"CUDA counts unlike GPUs in an order of its own, so number {entry} may be another "
                "one; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPU by its UUID",
            )
        else:
            yield visible


def _named(gpus: Sequence[Gpu], entry: str) -> Visible | None:
    """Return the GPU of an entry, an index or the beginning of a UUID; `None`: there is not one."""
    if entry.isdecimal():
        return _visible(gpus[int(entry)]) if int(entry) < len(gpus) else None
    # the older name of a slice, MIG-GPU-<uuid>/<instance>/<instance>, does not tell its UUID
    old = entry.startswith("MIG-GPU-")
    start = entry.removeprefix("MIG-").split("/")[0] if old else entry
    matches: list[tuple[Gpu, Slice | None]] = []
    for gpu in gpus if start else ():
        if gpu.uuid.startswith(start) and not (old and gpu.slices is None):
            matches.append((gpu, None))
        matches += [(gpu, part) for part in gpu.slices or () if part.uuid.startswith(start)]
    if len(matches) == 1:
        return _visible(*matches[0])
    refused = any(gpu.reason for gpu in gpus)
    if not matches and refused and re.match(r"(GPU|MIG)-.", entry):
        return _unknown(gpus, entry)
    return None


def _visible(gpu: Gpu, part: Slice | None = None) -> Visible:
    device, reason = f"gpu{gpu.index}", gpu.reason
    uuids = {uuid_key(gpu.uuid)} if gpu.uuid else set()
    if gpu.slices is not None:
        if part is None and len(gpu.slices) == 1:
            (part,) = gpu.slices
        uuids |= {uuid_key(part.uuid)} if part else {uuid_key(other.uuid) for other in gpu.slices}
        if part is None or not part.whole:
            reason = (
                f"this process has a slice (MIG) of {device}, and a slice has no counter: that of "
                "the GPU counts all of them"
            )
    return Visible(device, gpu, frozenset(uuids), reason)
