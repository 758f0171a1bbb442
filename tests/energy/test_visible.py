"""GPUs of a process: by UUID, as CUDA reads its setting, and slices of a divided GPU."""

from __future__ import annotations

import pytest

from clso.energy.visible import Gpu, Slice, uuid_key, visible_gpus

A, B, C = "GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"
BIG = Slice("MIG-7777-0", whole=True)
SMALL, OTHER = Slice("MIG-1111-0", whole=False), Slice("MIG-2222-0", whole=False)


def plain(*uuids: str, name: str = "one kind") -> list[Gpu]:
    return [Gpu(index, index, uuid, name) for index, uuid in enumerate(uuids)]


def divided(*slices: Slice) -> list[Gpu]:
    return [Gpu(0, 0, A, slices=slices), Gpu(1, 1, B)]


def metered(
    gpus: list[Gpu], setting: str | None = None, cuda: list[str] | None = None, order: str = ""
) -> dict[str, bool]:
    """Return for each visible GPU whether its counter stands for this process."""
    environment = {"CUDA_DEVICE_ORDER": order}
    if setting is not None:
        environment["CUDA_VISIBLE_DEVICES"] = setting
    return {seen.device: not seen.reason for seen in visible_gpus(gpus, environment, cuda)}


@pytest.mark.parametrize("prefix", ["", "GPU-"])
def test_cuda_names_its_gpus_whatever_the_order_and_the_setting(prefix: str) -> None:
    third = prefix + uuid_key(C).upper()
    assert metered(plain(A, B, C), "0", [third]) == {"gpu2": True}
    assert metered(plain(A, B, C), None, [third, A]) == {"gpu0": True, "gpu2": True}
    assert metered(plain(A, B), "0", []) == {}


@pytest.mark.parametrize(
    ("setting", "devices"),
    [
        (None, {"gpu0", "gpu1", "gpu2"}),
        ("2,0", {"gpu0", "gpu2"}),
        ("GPU-b", {"gpu1"}),
        ("GPU-b,2,9,0", {"gpu1", "gpu2"}),
        ("GPU-zzzz,0", set()),
        ("MIG-GPU-aaaa-1/1/0", set()),
    ],
)
def test_without_cuda_its_setting_is_read(setting: str | None, devices: set[str]) -> None:
    assert metered(plain(A, B, C), setting) == dict.fromkeys(devices, True)


def test_a_number_among_unlike_gpus_says_nothing_unless_they_are_in_order_of_the_bus() -> None:
    gpus = [Gpu(0, 0, A, "old"), Gpu(1, 1, B, "new")]
    assert metered(gpus, "0") == {"gpu0": False}
    assert metered(gpus, "0", order="PCI_BUS_ID") == {"gpu0": True}
    assert metered(gpus, "1,0") == {"gpu0": True, "gpu1": True}
    assert metered(gpus, A) == {"gpu0": True}
    assert metered(gpus, "0", [B]) == {"gpu1": True}


@pytest.mark.parametrize("setting", ["MIG-1111-0", "MIG-11", "MIG-GPU-aaaa-1/1/0", A, "0"])
def test_a_slice_has_no_counter(setting: str) -> None:
    assert metered(divided(SMALL, OTHER), setting) == {"gpu0": False}


@pytest.mark.parametrize("setting", [None, "0"])
def test_the_only_slice_that_is_shown_may_not_be_the_only_one(setting: str | None) -> None:
    assert metered(divided(SMALL), setting)["gpu0"] is False


@pytest.mark.parametrize("setting", ["MIG-7777-0", "MIG-7", "MIG-GPU-aaaa-1/0/0", "0"])
def test_a_slice_that_is_the_whole_gpu_is_metered(setting: str) -> None:
    assert metered(divided(BIG), setting) == {"gpu0": True}


def test_cuda_names_a_slice() -> None:
    assert metered(divided(SMALL, OTHER), None, ["1111-0"]) == {"gpu0": False}
    assert metered(divided(BIG), None, ["7777-0"]) == {"gpu0": True}
    assert metered(divided(SMALL), None, [A]) == {"gpu0": False}


def test_what_nvml_does_not_name_is_the_gpu_that_it_refuses() -> None:
    gpus = [Gpu(0, None, reason="no permission"), Gpu(1, 1, B)]
    assert metered(gpus, None, ["zzzz-9"]) == {"gpu0": False}
    assert metered(gpus, "GPU-zzzz") == {"gpu0": False}
    (unknown,) = visible_gpus(plain(A, B), {}, ["zzzz-9"])
    assert unknown.device == "gpu-zzzz-9"
    assert "NVML does not show" in unknown.reason
