"""Down the tiers: from the device to the host, to the disk, to a process that ended."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import nn

from model_manager import ComponentSpec, ModelManager, Placement
from partwise.core.progress import CancelToken
from partwise.vram.component import LoadOrder
from partwise.vram.readings import ComponentState, EventKind, MemoryEvent
from partwise.vram.runner import Loaded
from partwise.vram.settings import VramSettings
from tests.manager_support import WAIT_S, WEIGHT_BYTES, Clock, spin_until
from tests.vram.fake_runner import FakeRunner


class Tiers:
    """A manager whose components "a" and "b" stay on the host when they leave the device."""

    def __init__(self, **settings: float | bool) -> None:
        self.clock = Clock()
        self.runner = FakeRunner(keeps_on_host=True)
        self.events: list[MemoryEvent] = []
        self.orders: list[LoadOrder] = []
        self.manager = ModelManager(
            self.runner.device,
            VramSettings(**settings),  # type: ignore[arg-type]
            runner=self.runner,
            on_event=self.events.append,
            clock=self.clock,
        )
        for name in ("a", "b"):
            self.manager.register(ComponentSpec(name, name.upper(), self.build))

    def build(self, order: LoadOrder) -> nn.Module:
        self.orders.append(order)
        return nn.Linear(8, 8)

    def use(self, name: str, placement: Placement | None = None) -> None:
        with self.manager.use(name, placement):
            pass

    def state(self, name: str) -> ComponentState:
        return next(c.state for c in self.manager.get_status().components if c.name == name)

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


@pytest.fixture
def make() -> Iterator[Callable[..., Tiers]]:
    made: list[Tiers] = []

    def build(**settings: float | bool) -> Tiers:
        made.append(Tiers(**settings))
        return made[-1]

    yield build
    for tiers in made:
        tiers.manager.shutdown()


@pytest.mark.usefixtures("no_idle_thread")
def test_an_idle_component_goes_to_the_host_then_to_the_disk(make: Callable[..., Tiers]) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=100)
    tiers.use("a")
    tiers.clock.now = 11
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.PARKED
    assert tiers.manager.resident_weights() == {}
    assert tiers.manager.host_weights() == {"a": WEIGHT_BYTES}
    tiers.clock.now = 110
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.PARKED
    tiers.clock.now = 112
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.NOT_LOADED
    assert tiers.manager.host_weights() == {}
    assert tiers.kinds() == [EventKind.LOAD, EventKind.PARK, EventKind.UNLOAD]


def test_its_own_thread_does_so_without_being_asked(make: Callable[..., Tiers]) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=20)
    tiers.use("a")
    for now, state in ((11, ComponentState.PARKED), (40, ComponentState.NOT_LOADED)):
        tiers.clock.now = now
        with tiers.manager.use("b", timeout_s=1):  # something changed: the thread looks again
            pass
        tiers.manager.unload("b")
        spin_until(lambda state=state: tiers.state("a") is state)  # type: ignore[misc]


def test_an_evicted_component_stays_on_the_host_and_an_unloaded_one_does_not(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a")
    tiers.use("b")
    assert (tiers.state("a"), tiers.state("b")) == (ComponentState.PARKED, ComponentState.LOADED)
    report = tiers.manager.unload_all_models()
    assert set(report.unloaded) == {"a", "b"}
    assert tiers.manager.host_weights() == {}
    assert {tiers.state("a"), tiers.state("b")} == {ComponentState.NOT_LOADED}


def test_another_precision_loads_anew_and_none_takes_what_is_there(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a", Placement("bf16"))
    tiers.use("a")
    tiers.use("a", Placement("bf16"))
    assert [order.precision for order in tiers.orders] == ["bf16"]
    tiers.use("a", Placement("int8"))
    assert [order.precision for order in tiers.orders] == ["bf16", "int8"]
    assert tiers.manager.get_status().components[0].precision == "int8"


def test_a_component_on_the_cpu_counts_as_the_hosts_and_moves_when_wanted_elsewhere(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a", Placement(is_on_host=True))
    assert tiers.manager.resident_weights() == {}
    assert tiers.manager.host_weights() == {"a": WEIGHT_BYTES}
    tiers.use("a", Placement())
    assert tiers.manager.resident_weights() == {"a": WEIGHT_BYTES}
    assert len(tiers.orders) == 2


def test_one_in_use_is_never_reloaded_in_another_form(make: Callable[..., Tiers]) -> None:
    tiers = make()
    cancel = CancelToken()
    with tiers.manager.use("a", Placement("fp32")) as lease:
        with pytest.raises(Exception, match="had to wait"):
            tiers.manager.use("a", Placement("bf16"), cancel=cancel, timeout_s=-1).__enter__()
        assert lease.module is not None
    assert [order.precision for order in tiers.orders] == ["fp32"]


def test_the_settings_name_the_precision_when_nobody_else_does(
    make: Callable[..., Tiers],
) -> None:
    tiers = make(weights="bf16")
    tiers.use("a")
    assert tiers.orders[0].precision == "bf16"


def test_reading_ahead_brings_the_weights_to_the_host_meanwhile(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    with tiers.manager.use("a"):
        tiers.manager.prefetch("b", "bf16")
        spin_until(lambda: tiers.state("b") is ComponentState.PARKED)
    assert tiers.runner.prefetched == ["b"]
    assert EventKind.PREFETCH in tiers.kinds()
    tiers.manager.prefetch("b")
    tiers.manager.prefetch("a")
    assert tiers.runner.prefetched == ["b"]


@pytest.mark.usefixtures("no_idle_thread")
def test_the_models_process_ends_when_nothing_has_been_in_it_for_a_while(
    make: Callable[..., Tiers],
) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=10, worker_keep_s=30, is_isolated=True)
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 0
    tiers.use("a")
    for now in (11, 22, 40):
        tiers.clock.now = now
        tiers.manager.unload_idle()
        assert tiers.runner.rest_count == 0
    tiers.clock.now = 53
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 1
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 1


@pytest.mark.usefixtures("no_idle_thread")
@pytest.mark.parametrize("is_read_ahead", [False, True])
def test_a_process_in_which_nothing_could_be_loaded_ends_as_well(
    make: Callable[..., Tiers], is_read_ahead: bool
) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=10, worker_keep_s=30, is_isolated=True)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("torn")

    tiers.runner.load = tiers.runner.prefetch = fail  # type: ignore[assignment,method-assign]
    if is_read_ahead:
        tiers.manager.prefetch("a")
        spin_until(lambda: all(thread.name != "prefetch" for thread in threading.enumerate()))
    else:
        with pytest.raises(RuntimeError, match="torn"):
            tiers.use("a")
    tiers.clock.now = 31
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 1


@pytest.mark.usefixtures("no_idle_thread")
def test_what_is_used_while_others_move_down_stays(make: Callable[..., Tiers]) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=100)
    tiers.manager.register(ComponentSpec("free", "FREE", tiers.build, group=None))
    tiers.use("a")
    tiers.use("free")
    tiers.clock.now = 11
    tiers.manager.unload_idle()
    assert (tiers.state("a"), tiers.state("free")) == (ComponentState.PARKED,) * 2
    drop = tiers.runner.drop

    def drop_slowly(name: str) -> None:
        drop(name)
        if name == "a":
            tiers.use("free")

    tiers.runner.drop = drop_slowly  # type: ignore[method-assign]
    tiers.clock.now = 200
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.NOT_LOADED
    assert tiers.state("free") is ComponentState.LOADED


@pytest.mark.usefixtures("no_idle_thread")
def test_a_process_that_has_just_begun_to_read_ahead_is_not_at_rest(
    make: Callable[..., Tiers],
) -> None:
    tiers, go = make(worker_keep_s=30, is_isolated=True), threading.Event()
    is_reading = threading.Event()

    def read(*_: object) -> None:
        is_reading.set()
        assert go.wait(WAIT_S)

    tiers.runner.prefetch = read  # type: ignore[method-assign]
    tiers.clock.now = 1000
    tiers.manager.prefetch("a")
    assert is_reading.wait(WAIT_S)
    tiers.manager.unload_idle()
    go.set()
    assert tiers.runner.rest_count == 0


@pytest.mark.usefixtures("no_idle_thread")
@pytest.mark.parametrize("when", ["while another one ends", "when another one is lost"])
def test_a_process_that_begins_meanwhile_ends_in_its_time(
    make: Callable[..., Tiers], when: str
) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=10, worker_keep_s=30, is_isolated=True)
    rests: list[float] = []

    def rest() -> bool:
        rests.append(tiers.clock.now)
        if len(rests) == 1:
            tiers.use("b")
        return True

    load = tiers.runner.load

    def lose(*args: Any, **options: Any) -> Loaded:
        tiers.manager.note_loss("ended with code 139")
        return load(*args, **options)

    if when == "while another one ends":
        tiers.runner.rest = rest  # type: ignore[method-assign]
        tiers.use("a")
        tiers.manager.unload_all_models()
    else:
        tiers.runner.load = lose  # type: ignore[method-assign]
        tiers.use("b")
    before = tiers.runner.rest_count + len(rests)
    for now in (11, 22, 53):
        tiers.clock.now = now
        tiers.manager.unload_idle()
    assert tiers.runner.rest_count + len(rests) == before + 1


def test_a_lost_process_leaves_nothing_loaded_and_the_next_use_loads_again(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a")
    tiers.runner.lose()
    tiers.manager.note_loss("ended with code 139")
    assert tiers.state("a") is ComponentState.NOT_LOADED
    assert tiers.events[-1].kind is EventKind.WORKER
    tiers.use("a")
    assert tiers.state("a") is ComponentState.LOADED
    assert len(tiers.orders) == 2


def test_a_lease_calls_a_function_with_the_module_and_only_while_it_lasts(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    with tiers.manager.use("a") as lease:
        assert lease.call("tests.test_model_manager_tiers:width_of", 2) == 16
    with pytest.raises(RuntimeError, match="is over"):
        lease.call("tests.test_model_manager_tiers:width_of", 2)


def width_of(module: nn.Linear, factor: int, *, progress: object, cancel: object) -> int:
    return factor * module.out_features
