"""Host masters: built once, placed as often as needed, given up by age, never while placed."""

import random
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from partwise.core.errors import Cancelled, MemoryBudgetError, WeightsError
from partwise.core.progress import CancelToken
from partwise.vram import slabs as slabs_module
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.footprint import WEIGHT_ALIGNMENT
from partwise.vram.slabs import HostSlabs
from partwise.vram.weights import HostMaster, HostMasters

GIB = 2**30
KIB = 1024


class Model(nn.Module):
    """A tied weight, a buffer that no file holds, a scalar, an empty one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 8)
        self.second = nn.Linear(16, 8, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(()))
        self.nothing = nn.Parameter(torch.ones(0, 3))
        self.register_buffer("table", torch.arange(5), persistent=False)


def built(order: LoadOrder) -> nn.Module:
    """The model with its weights in the memory of the order, all but the table."""
    torch.manual_seed(2)
    model = Model()
    for owner, name in ((model.first, "weight"), (model.first, "bias"), (model, "scale")):
        values = getattr(owner, name).detach()
        place = order.empty(tuple(values.shape), values.dtype)
        setattr(owner, name, nn.Parameter(place.copy_(values)))
    model.second.weight = model.first.weight
    return model


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors(module).items()}


def kept(slab: Tensor) -> Tensor:
    return slab


def wide(kib: int, name: str = "wide", count: list[str] | None = None) -> ComponentSpec:
    """A component of `kib` KiB that notes each time it is built."""

    def build(order: LoadOrder) -> nn.Module:
        if count is not None:
            count.append(name)
        module = nn.Module()
        weight = order.empty((kib, 256), torch.float32).zero_()
        module.register_parameter("weight", nn.Parameter(weight))
        return module

    return ComponentSpec(name, name, build, count_bytes=lambda precision: kib * KIB)


def masters(
    limit_bytes: int | None = GIB, free: Callable[[], int] = lambda: 64 * GIB
) -> HostMasters:
    return HostMasters(free, limit_bytes=limit_bytes, can_pin=False, ram_bytes=64 * GIB)


def whole(build: Callable[[LoadOrder], nn.Module] = built) -> ComponentSpec:
    return ComponentSpec("model", "Model", build)


@pytest.mark.parametrize("build", [built, lambda order: Model()], ids=["in slabs", "elsewhere"])
@pytest.mark.parametrize("upload", [kept, Tensor.clone], ids=["same memory", "copied"])
def test_a_placed_module_has_every_tensor_exactly(
    build: Callable[[LoadOrder], nn.Module], upload: Callable[[Tensor], Tensor]
) -> None:
    made: list[dict[str, Tensor]] = []

    def noting(order: LoadOrder) -> nn.Module:
        module = build(order)
        made.append(copies(module))
        return module

    master = masters().obtain(whole(noting), "fp32")
    for _ in range(2):
        module = master.place(upload)
        found = tensors(module)
        assert found.keys() == made[0].keys()
        assert all(torch.equal(found[name], made[0][name]) for name in found)
        assert not any(tensor.requires_grad for tensor in found.values())
        assert not any(part.training for part in module.modules())
        master.withdraw()
        assert all(tensor.is_meta for tensor in tensors(module).values())


def test_a_tied_weight_stays_one_and_counts_once() -> None:
    master = masters().obtain(whole(), "fp32")
    module = master.place(Tensor.clone)
    assert module.first.weight is module.second.weight
    assert master.byte_count == 4 * (16 * 8 + 8 + 1) + 8 * 5
    master.withdraw()
    assert module.first.weight is module.second.weight


def test_on_the_cpu_there_is_no_second_copy() -> None:
    slabs = HostSlabs()
    module = built(LoadOrder(empty=slabs.empty))
    places = {name: tensor.data_ptr() for name, tensor in tensors(module).items()}
    HostMaster("model", "fp32", module, slabs.slabs).place(kept)
    assert {name: tensor.data_ptr() for name, tensor in tensors(module).items()} == places


def test_a_module_of_many_weights_is_uploaded_in_one_piece() -> None:
    uploads: list[int] = []

    def upload(slab: Tensor) -> Tensor:
        uploads.append(len(slab))
        return slab.clone()

    def build(order: LoadOrder) -> nn.Module:
        empty = [order.empty((5, i), torch.float32).fill_(i) for i in range(1, 40)]
        return nn.ParameterList(nn.Parameter(tensor) for tensor in empty)

    master = masters().obtain(whole(build), "fp32")
    module = master.place(upload)
    assert len(uploads) == 1
    assert master.byte_count <= uploads[0] < master.byte_count + 39 * WEIGHT_ALIGNMENT
    assert all(int(tensor[0, 0]) == i for i, tensor in enumerate(module, 1))


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failed_place_keeps_nothing_and_works_when_tried_again(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    monkeypatch.setattr(slabs_module, "SLAB_BYTES", 4 * KIB)
    live: list[Tensor] = []

    def upload(slab: Tensor) -> Tensor:
        if len(live) == failing:
            raise torch.OutOfMemoryError("no room")
        live.append(slab.clone())
        return live[-1]

    def build(order: LoadOrder) -> nn.Module:
        made = [order.empty((4, 256), torch.float32).fill_(i) for i in range(3)]
        return nn.ParameterList(nn.Parameter(tensor) for tensor in made)

    host = masters()
    master = host.obtain(whole(build), "fp32")
    with pytest.raises(torch.OutOfMemoryError) as failure:
        master.place(upload)
    holders = [frame for frame in _frames(failure.value) if frame.f_code.co_name == "place"]
    assert [frame.f_locals["placed"] for frame in holders] == [[]]
    assert not master.is_placed
    module = master.place(kept)
    assert [int(tensor[0, 0]) for tensor in module] == [0, 1, 2]


def _frames(error: BaseException) -> Iterator[object]:
    trace = error.__traceback__
    while trace:
        yield trace.tb_frame
        trace = trace.tb_next


def test_a_module_with_tensors_left_on_meta_is_the_builders_mistake() -> None:
    def build(order: LoadOrder) -> nn.Module:
        with torch.device("meta"):
            return nn.Linear(2, 2)

    with pytest.raises(ValueError, match="on meta"):
        masters().obtain(whole(build), "fp32")


def test_a_master_is_built_once_and_again_after_its_release() -> None:
    host, count = masters(), []
    spec = wide(4, count=count)
    first = host.obtain(spec, "fp32")
    assert host.obtain(spec, "fp32") is first
    assert host.find("wide") is first
    assert host.release("wide") == host.release("wide") + 4 * KIB
    assert (host.find("wide"), host.total_bytes) == (None, 0)
    host.obtain(spec, "fp32")
    assert count == ["wide", "wide"]


def test_two_threads_that_want_the_same_build_it_once() -> None:
    host, count, found = masters(), [], []
    is_building, go = threading.Event(), threading.Event()
    plain = wide(4, count=count)

    def build(order: LoadOrder) -> nn.Module:
        is_building.set()
        assert go.wait(60)
        return plain.build(order)

    spec = ComponentSpec("wide", "wide", build)
    threads = [
        threading.Thread(target=lambda: found.append(host.obtain(spec, "fp32"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert is_building.wait(60)
    assert host.total_bytes == 0  # nothing waits for a lock while it is built
    go.set()
    for thread in threads:
        thread.join(60)
    assert count == ["wide"]
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_who_waits_for_a_build_that_fails_builds_itself() -> None:
    host, found = masters(), []
    is_building, go, attempts = threading.Event(), threading.Event(), []

    def build(order: LoadOrder) -> nn.Module:
        attempts.append(order)
        if len(attempts) > 1:
            return nn.Linear(2, 2)
        is_building.set()
        assert go.wait(60)
        raise WeightsError("torn")

    def first() -> None:
        with pytest.raises(WeightsError, match="torn"):
            host.obtain(whole(build), "fp32")

    threads = [
        threading.Thread(target=first),
        threading.Thread(target=lambda: found.append(host.obtain(whole(build), "fp32"))),
    ]
    threads[0].start()
    assert is_building.wait(60)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(attempts) == 2
    assert found == [host.find("model")]


def test_a_cancel_leaves_nothing() -> None:
    host, cancel = masters(), CancelToken()

    def build(order: LoadOrder) -> nn.Module:
        module = wide(4).build(order)
        order.cancel.cancel()
        return module

    with pytest.raises(Cancelled):
        host.obtain(whole(build), "fp32", cancel=cancel)
    assert (host.find("model"), host.total_bytes) == (None, 0)


def test_the_least_recently_used_is_given_up_first_and_a_placed_one_never() -> None:
    host = masters(limit_bytes=10 * KIB)
    for name in "abc":
        host.obtain(wide(3, name), "fp32")
    host.obtain(wide(3, "a"), "fp32")
    module = host.find("b").place(kept)
    host.obtain(wide(3, "d"), "fp32")
    assert {name for name in "abcd" if host.find(name)} == {"a", "b", "d"}
    host.obtain(wide(9, "e"), "fp32")
    assert {name for name in "abcde" if host.find(name)} == {"b", "e"}
    assert not module.weight.is_meta


def test_one_that_is_over_the_limit_is_there_while_it_is_used_and_given_up_after() -> None:
    host = masters(limit_bytes=10 * KIB)
    master = host.obtain(wide(20), "fp32")
    module = master.place(kept)
    assert host.total_bytes == 20 * KIB
    master.withdraw()
    assert host.total_bytes == 0
    assert module.weight.is_meta


def test_one_that_was_given_up_before_it_was_placed_is_found_again_when_it_is() -> None:
    host = masters(limit_bytes=4 * KIB)
    first = host.obtain(wide(4, "a"), "fp32")
    host.obtain(wide(4, "b"), "fp32")
    assert host.find("a") is None
    first.place(kept)
    assert host.find("a") is first


def test_a_component_is_kept_in_one_precision() -> None:
    host = masters()
    host.obtain(wide(4), "fp32")
    sixteen = host.obtain(wide(2), "bf16")
    assert host.find("wide") is sixteen
    assert host.total_bytes == 2 * KIB


def test_without_room_on_the_host_it_is_refused_before_anything_is_read() -> None:
    count: list[str] = []
    host = masters(free=lambda: GIB)
    with pytest.raises(MemoryBudgetError, match="wide needs") as refusal:
        host.obtain(wide(600 * KIB, count=count), "fp32")
    assert count == []
    assert refusal.value.needed_bytes == 600 * 2**20
    assert refusal.value.available_bytes == GIB // 2


def test_masters_that_nobody_uses_make_room_before_one_is_refused() -> None:
    taken = [0]
    host = masters(free=lambda: GIB - taken[0] + (0 if host.find("a") else taken[0]))
    host.obtain(wide(4, "a"), "fp32")
    taken[0] = GIB
    host.obtain(wide(4, "b"), "fp32")
    assert host.find("a") is None
    assert host.find("b") is not None


def test_a_component_of_unknown_size_is_refused_when_the_room_ends() -> None:
    free = [GIB]

    def build(order: LoadOrder) -> nn.Module:
        for _ in range(3):
            free[0] -= 300 * 2**20
            order.empty((2**27,), torch.uint8)
        raise AssertionError("it had to be refused before")

    host = masters(free=lambda: free[0])
    with pytest.raises(MemoryBudgetError, match="Model needs"):
        host.obtain(whole(build), "fp32")
    assert host.total_bytes == 0


@pytest.mark.parametrize(
    ("free_gib", "ram_gib", "limit_gib"), [(60, 64, 25.6), (10, 64, 6), (3, 64, 0)]
)
def test_the_limit_follows_the_machine_unless_one_is_given(
    free_gib: int, ram_gib: int, limit_gib: float
) -> None:
    host = HostMasters(
        lambda: free_gib * GIB, limit_bytes=None, can_pin=False, ram_bytes=ram_gib * GIB
    )
    assert host._limit() == int(limit_gib * GIB)


def test_threads_that_place_and_release_at_random_never_lose_weights_or_bytes() -> None:
    host, failures = masters(limit_bytes=7 * KIB), []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(300):
            name = f"{seed}-{draw.randrange(3)}"
            precision = draw.choice(["fp32", "bf16"])
            master = host.obtain(wide(draw.randrange(1, 4), name), precision)
            module = master.place(draw.choice([kept, Tensor.clone]))
            if module.weight.is_meta or host.find(name) is not master:
                failures.append(name)
            master.withdraw()
            if draw.random() < 0.3:
                host.release(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert host.total_bytes <= 7 * KIB
    for name in [f"{seed}-{i}" for seed in range(2) for i in range(3)]:
        host.release(name)
    assert host.total_bytes == 0
