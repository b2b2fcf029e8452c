"""Slabs of host memory: aligned, filled one after the other, page-locked while they are used."""

import pytest
import torch
from torch import Tensor, nn

from partwise.vram import slabs as slabs_module
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.footprint import WEIGHT_ALIGNMENT
from partwise.vram.slabs import HostSlabs
from partwise.vram.weights import HostMasters

KIB = 1024


def six_kib(name: str) -> ComponentSpec:
    def build(order: LoadOrder) -> nn.Module:
        module = nn.Module()
        weight = order.empty((6, 256), torch.float32).zero_()
        module.register_parameter("weight", nn.Parameter(weight))
        return module

    return ComponentSpec(name, name, build)


def test_weights_are_aligned_and_a_full_slab_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slabs_module, "SLAB_BYTES", 64 * KIB)
    slabs = HostSlabs()
    shapes = [(30, 256), (33, 256), (1,), (100, 256), (7, 3)]
    made = [slabs.empty(shape, torch.float32).fill_(i) for i, shape in enumerate(shapes)]
    assert all(tensor.data_ptr() % WEIGHT_ALIGNMENT == 0 for tensor in made)
    assert all(bool((tensor == i).all()) for i, tensor in enumerate(made))
    assert [len(slab.used) for slab in slabs.slabs] == [63 * KIB + 256, 100 * KIB, 256]
    assert all(slab.used.data_ptr() % 4096 == 0 for slab in slabs.slabs)


@pytest.mark.parametrize("is_allowed", [True, False])
def test_pages_are_locked_within_the_limit_until_the_weights_are_gone(
    monkeypatch: pytest.MonkeyPatch, is_allowed: bool
) -> None:
    locked: list[int] = []

    class Runtime:
        def cudaHostRegister(self, place: int, size: int, flags: int) -> int:
            assert (place % 4096, size % 4096, flags) == (0, 0, 1)
            if is_allowed:
                locked.append(place)
            return 0 if is_allowed else 2

        def cudaHostUnregister(self, place: int) -> int:
            locked.remove(place)
            return 0

    monkeypatch.setattr(torch.cuda, "cudart", Runtime)
    monkeypatch.setattr(slabs_module, "_forget_last_error", lambda: None)  # needs a GPU
    host = HostMasters(lambda: 2**36, limit_bytes=10 * KIB, can_pin=True, ram_bytes=2**36)
    master = host.obtain(six_kib("a"), "fp32")
    assert master.is_pinned == is_allowed
    assert len(locked) == is_allowed
    master.place(Tensor.clone)
    other = host.obtain(six_kib("b"), "fp32")
    assert not other.is_pinned  # it would be over the limit
    master.withdraw()
    host.release("a")
    del master
    assert locked == []
