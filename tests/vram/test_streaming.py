"""Streamed weights compute what whole ones do, bit for bit, in whatever order units are called."""

import gc
import random
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from partwise.core.errors import Cancelled
from partwise.vram.checkpoint import open_checkpoint
from partwise.vram.component import LoadOrder
from partwise.vram.footprint import slot_count, streamed_bytes, tensor_bytes, unit_of
from partwise.vram.plan import PRECISIONS
from partwise.vram.simulated import Failures, SimulatedDevice
from partwise.vram.slabs import HostSlabs
from partwise.vram.slots import Pieces, PlainSlots, Slots
from partwise.vram.weights import HostMaster
from tests.tiers import SEEDS, slow_but
from tests.vram.streamed_models import (
    BLOCK_NAMES,
    BLOCKS,
    EXPERTS,
    Tower,
    build_tower,
    tokens_of,
    units_of,
    write_tower,
)

KINDS = ("blocks", "experts")
TYPES = (torch.float32, torch.bfloat16)
MIB = 2**20


class LazySlots(PlainSlots):
    """A device whose copies go on aside: done as late as may be, or at once, as `dice` say.

    So a copy into a slot that still computes shows in the result, and so does one not waited for.
    """

    is_aside = True

    def __init__(self, dice: random.Random) -> None:
        super().__init__("lazy")
        self._dice = dice
        self._under_way: list[tuple[object, Pieces]] = []
        self.made: list[weakref.ref[Tensor]] = []
        self.fills = 0

    def new(self, byte_count: int) -> Tensor:
        slot = torch.full((byte_count,), 255, dtype=torch.uint8)
        self.made.append(weakref.ref(slot))
        return slot

    def fill(self, pieces: Pieces, after: object = None) -> object:
        assert after is not None
        arrival = object()
        self.fills += 1
        self._under_way.append((arrival, pieces))
        if self._dice.random() < 0.5:
            self.settle()
        return arrival

    def wait(self, arrival: object) -> None:
        while any(one is arrival for one, _ in self._under_way):
            self._next()

    def mark(self) -> object:
        return object()

    def settle(self) -> None:
        while self._under_way:
            self._next()

    def _next(self) -> None:
        for target, source in self._under_way.pop(0)[1]:
            target.copy_(source)


def master_of(path: Path, precision: str = "fp32", *, is_mapped: bool = False) -> HostMaster:
    slabs = HostSlabs()
    module = build_tower(path)(LoadOrder(precision, empty=slabs.empty, is_mapped=is_mapped))
    return HostMaster("tower", precision, module, slabs.slabs, is_mapped=is_mapped)


def whole(path: Path, precision: str = "fp32") -> nn.Module:
    return build_tower(path)(LoadOrder(precision))


def run(module: nn.Module, order: Sequence[int] = range(BLOCKS), **more: object) -> Tensor:
    with torch.inference_mode():
        tokens = tokens_of().to(module.get_parameter("first.weight").dtype)
        return module(tokens, order, **more)


def card(mib: int = 64) -> SimulatedDevice:
    return SimulatedDevice(mib * MIB, context_bytes=MIB)


def allocated(device: SimulatedDevice) -> int:
    allocator = device.read().allocator
    assert allocator is not None
    return allocator.allocated_bytes


@pytest.fixture(params=TYPES, ids=str, scope="module")
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tower(tmp_path_factory.mktemp("tower") / "tower.safetensors", request.param)


def doors() -> list[Callable[[], Slots]]:
    return [
        lambda: PlainSlots("cpu"),
        lambda: card().slots(),
        lambda: LazySlots(random.Random(3)),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS[:3])
@pytest.mark.parametrize("is_mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("door", doors(), ids=["cpu", "simulated", "aside"])
def test_streamed_is_resident_bit_for_bit(
    path: Path, door: Callable[[], Slots], is_mapped: bool, precision: str, kind: str
) -> None:
    master = master_of(path, precision, is_mapped=is_mapped)
    module = master.stream(units_of(master.module, kind), door())
    expected = run(whole(path, precision))
    for _ in range(3):
        assert torch.equal(run(module), expected)
    master.withdraw()
    with pytest.raises((RuntimeError, NotImplementedError)):
        run(module).sum().item()


@given(seed=SEEDS)
def test_any_order_and_any_choice_of_units_gives_the_same(path: Path, seed: int) -> None:
    dice = random.Random(seed)
    master, expected = master_of(path), whole(path)
    door = LazySlots(dice) if dice.random() < 0.7 else card().slots()
    master.is_pinned = dice.random() < 0.5  # begins copies earlier or later
    module = master.stream(units_of(master.module, dice.choice(KINDS)), door)
    for _ in range(4):
        order = dice.choices(range(BLOCKS), k=dice.randint(1, 2 * BLOCKS))
        chosen = dice.choices(range(EXPERTS), k=dice.randint(0, EXPERTS))
        found = run(module, order, chosen=chosen)
        assert torch.equal(found, run(expected, order, chosen=chosen))


def test_a_unit_has_its_weights_in_its_turn_alone(path: Path) -> None:
    master = master_of(path)
    module = master.stream(BLOCK_NAMES, card().slots())
    seen = []

    def look(*_: object) -> None:
        there = [not block.layer.weight.is_meta for block in module.blocks]
        tables = [not block.table.is_meta for block in module.blocks]
        assert there == tables
        seen.append(there)

    for block in module.blocks:
        block.layer.register_forward_hook(look)
    run(module, before=look)
    for i in range(BLOCKS):
        assert seen[2 * i] == [False] * BLOCKS
        assert seen[2 * i + 1] == [k == i for k in range(BLOCKS)]


@pytest.mark.parametrize(("kind", "names"), [("blocks", BLOCKS), ("experts", BLOCKS * 4)])
@pytest.mark.parametrize("is_pinned", [False, True])
def test_each_unit_is_fetched_once_a_pass_and_the_next_one_ahead(
    path: Path, kind: str, names: int, is_pinned: bool
) -> None:
    master, door = master_of(path), LazySlots(random.Random(0))
    master.is_pinned = is_pinned
    module = master.stream(units_of(master.module, kind), door)
    run(module)
    before = door.fills
    for _ in range(3):
        run(module)
    assert door.fills - before == 3 * names


def test_units_that_fit_into_the_slots_are_not_fetched_again(path: Path) -> None:
    master, door = master_of(path), LazySlots(random.Random(0))
    module = master.stream(BLOCK_NAMES[:2], door)
    run(module)
    before = door.fills
    run(module)
    assert door.fills == before


@pytest.mark.parametrize("precision", PRECISIONS[:3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_card_holds_what_the_header_tells_and_no_more_while_it_computes(
    path: Path, kind: str, precision: str
) -> None:
    device, master = card(), master_of(path, precision, is_mapped=True)
    units = units_of(master.module, kind)
    told = streamed_bytes(tensor_bytes(open_checkpoint(path), precision), units)
    module = master.stream(units, device.slots())
    assert allocated(device) == told == master.placed_bytes
    run(module)
    peak = device.read().allocator
    assert peak is not None
    assert peak.peak_allocated_bytes == told
    master.withdraw()
    assert allocated(device) == 0


@pytest.mark.parametrize("precision", PRECISIONS[:3])
def test_on_the_cpu_only_what_is_cast_takes_memory(path: Path, precision: str) -> None:
    master, header = master_of(path, precision, is_mapped=True), open_checkpoint(path)
    master.stream(BLOCK_NAMES, PlainSlots("cpu"))
    sizes = tensor_bytes(header, precision, is_mapped_on_host=True)
    assert master.placed_bytes == streamed_bytes(sizes, BLOCK_NAMES)
    stored = {"F32": "fp32", "BF16": "bf16"}[next(iter(header.values())).dtype]
    assert (master.placed_bytes == 0) == (stored == precision)
    assert master.host_bytes == 0


def test_a_weight_of_two_units_stays() -> None:
    module = Tower()
    module.blocks[1].layer.weight = module.blocks[0].layer.weight
    expected = run(module)
    master = HostMaster("tower", "fp32", module, [])
    master.stream(BLOCK_NAMES, card().slots())
    assert not module.blocks[0].layer.weight.is_meta
    assert module.blocks[0].layer.bias.is_meta
    assert torch.equal(run(module), expected)


@pytest.mark.parametrize("number", slow_but([1, 4, 7], range(1, 10)))
def test_out_of_memory_while_it_is_placed_leaves_nothing(path: Path, number: int) -> None:
    device, master = card(), master_of(path, is_mapped=True)
    device.fail(Failures(at=frozenset({number})))
    units = units_of(master.module, "experts")
    if number > 2 + slot_count(units):  # what stays, its copy, and the slots
        module = master.stream(units, device.slots())
        with pytest.raises(torch.OutOfMemoryError):
            run(module)
    else:
        with pytest.raises(torch.OutOfMemoryError) as kept:
            master.stream(units, device.slots())
        gc.collect()
        assert allocated(device) == 0  # though somebody keeps the error and its frames
        assert kept.value.__traceback__ is not None
        assert not master.is_placed
        device.fail(Failures())
        module = master.stream(units, device.slots())
        assert torch.equal(run(module), run(whole(path)))
    del module
    master.withdraw()
    assert allocated(device) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_at_any_copy_ends_the_pass_and_the_next_one_is_right(
    path: Path, kind: str
) -> None:
    device, master, expected = card(), master_of(path), run(whole(path))
    units = units_of(master.module, kind)
    module = master.stream(units, device.slots())
    for number in range(1, len(units) + 1):
        device.fail(Failures(at=frozenset({number})))
        failed = False
        try:
            run(module)
        except torch.OutOfMemoryError:
            failed = True
        device.fail(Failures())
        assert failed or number > len(units) - slot_count(units)  # the last ones may lie there
        assert all(tensor.is_meta for name in units for tensor in own(module, name, units))
        assert torch.equal(run(module), expected)


def own(module: nn.Module, name: str, units: list[str]) -> list[Tensor]:
    unit = module.get_submodule(name)
    named = (*unit.named_parameters(), *unit.named_buffers())
    return [t for key, t in named if unit_of(f"{name}.{key}".rpartition(".")[0], units) == name]


@pytest.mark.parametrize("error", [Cancelled("stop"), KeyboardInterrupt(), ZeroDivisionError()])
@pytest.mark.parametrize("at", range(BLOCKS))
def test_an_error_within_any_unit_takes_its_weights_away_and_lets_others_in(
    path: Path, at: int, error: BaseException
) -> None:
    master, expected = master_of(path), run(whole(path))
    module = master.stream(units_of(master.module, "experts"), LazySlots(random.Random(at)))

    def stop(*_: object) -> None:
        raise error

    hook = module.blocks[at].experts[1].register_forward_pre_hook(stop)
    within = module.blocks[at].norm.register_forward_pre_hook(stop)
    for one in (hook, within):
        with pytest.raises(type(error)):
            run(module)
        one.remove()
    assert module.blocks[at].layer.weight.is_meta
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(run(module)))
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "an error kept the turn"
    assert torch.equal(found[0], expected)


def test_threads_that_share_it_take_turns(path: Path) -> None:
    master = master_of(path)
    module = master.stream(units_of(master.module, "experts"), LazySlots(random.Random(1)))
    resident = whole(path)
    wrong: list[int] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for i in range(15):
            order = dice.sample(range(BLOCKS), BLOCKS)
            if not torch.equal(run(module, order), run(resident, order)):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []


def test_nothing_of_it_is_left_once_it_is_withdrawn(path: Path) -> None:
    door, master = LazySlots(random.Random(2)), master_of(path, is_mapped=True)
    module = master.stream(units_of(master.module, "experts"), door)
    run(module)
    assert len(door.made) == 4
    master.withdraw()
    assert [slot() for slot in door.made] == [None] * 4
    assert all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    assert not any("forward" in vars(one) for one in module.modules())


def test_it_can_be_placed_whole_and_streamed_in_turn(path: Path) -> None:
    device, master, expected = card(), master_of(path), run(whole(path))
    for _ in range(2):
        module = master.place(device.upload)
        assert torch.equal(run(module), expected)
        for kind in KINDS:
            module = master.stream(units_of(module, kind), device.slots())
            assert torch.equal(run(module), expected)
    master.withdraw()
    assert allocated(device) == 0


@pytest.mark.parametrize("is_early", [False, True])
def test_a_unit_may_call_one_that_is_no_part_of_it_while_there_are_slots(
    path: Path, is_early: bool
) -> None:
    master = master_of(path)
    master.is_pinned = is_early
    module = master.stream(BLOCK_NAMES, LazySlots(random.Random(4)))
    tokens, blocks = tokens_of().to(module.first.weight.dtype), module.blocks
    resident = whole(path).blocks
    again = blocks[0].register_forward_hook(lambda block, given, out: block.norm(out))
    with pytest.raises((RuntimeError, NotImplementedError)):
        blocks[0](tokens)  # its weights are gone by then
    again.remove()
    inner = blocks[0].norm.register_forward_hook(lambda norm, given, out: blocks[1](out))
    with torch.inference_mode():
        assert torch.equal(blocks[0](tokens), resident[1](resident[0](tokens)))
    deeper = blocks[1].norm.register_forward_hook(lambda norm, given, out: blocks[2](out))
    with pytest.raises(RuntimeError, match=r"“blocks\.2” computes within blocks\.\d and"):
        blocks[0](tokens)
    inner.remove()
    deeper.remove()
    assert torch.equal(run(module), run(whole(path)))
