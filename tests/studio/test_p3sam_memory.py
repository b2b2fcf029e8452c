"""P3-SAM on the lossless rungs: no bit changes, whatever a plan gives up and where it resumes."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model_manager import ComponentSpec, ModelManager
from partwise.core.progress import CancelToken, ignore_progress
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.p3sam.model import TINY
from partwise.p3sam.pipeline import PromptMasks, UnfinishedMasks
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.component import LoadOrder
from partwise.vram.plan import Ladder
from partwise.vram.readings import EventKind
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import Failures, SimulatedDevice
from studio.catalog import P3SAM, Engines
from studio.encoded import EncodedMesh, EncodedMeshes
from studio.p3sam import Watch
from studio.p3sam_need import ENCODE, MASKS
from studio.p3sam_network import Network
from studio.pace import Pace
from tests.memory_support import memory_of
from tests.p3sam.test_pipeline import prepared_boxes
from tests.p3sam_support import filled
from tests.tiers import slow_but

MIB, GIB = 2**20, 2**30
SETTINGS = P3SamSettings(point_num=600, prompt_num=12, prompt_batch=6)


class Card:
    """A simulated card that the tiny network runs on."""

    def __init__(self) -> None:
        self.device = SimulatedDevice(8 * GIB, context_bytes=4 * MIB)
        settings = VramSettings(reserve_gib=0, ladder=Ladder.EXACT.value)
        self.manager = ModelManager(self.device, settings)
        self.manager.register(
            ComponentSpec(P3SAM, "P3-SAM", _build, count_bytes=lambda precision: 4 * MIB)
        )
        self.engines = Engines(
            self.manager,
            memory_of(self.device, self.manager, settings),
            cast(WorkerPool, None),  # preparing and labelling are not tried here
            WorkerLimits(60, 1 << 30),
            Path(),
            EncodedMeshes(1 << 28),
            Pace(is_on_gpu=True),
            auto_limit_s=60.0,
        )
        self.prepared = prepared_boxes(2, SETTINGS)

    def run(
        self, before_masks: Callable[[], object] = lambda: None
    ) -> tuple[NDArray[np.float32], PromptMasks, dict[str, int]]:
        """Features, masks, and in which way the masks came."""
        watch = Watch(ignore_progress, CancelToken())
        network = Network(self.prepared, SETTINGS, self.engines, (ENCODE, MASKS), watch)
        features = network.encode(watch)
        before_masks()
        found = network.ask(EncodedMesh(self.prepared, features), watch)
        last = network._job.plan.stage(MASKS)
        return features, found, {**last.knobs, "is_on_host": int(network.is_on_host)}


def _build(order: LoadOrder) -> torch.nn.Module:
    return filled(TINY)


@pytest.fixture
def card() -> Iterator[Card]:
    card = Card()
    yield card
    card.manager.shutdown()
    assert card.device.own_bytes() == 0


def _same(found: PromptMasks, wanted: PromptMasks) -> bool:
    is_same = np.array_equal(found.masks, wanted.masks)
    return is_same and found.ious.tobytes() == wanted.ious.tobytes()


def test_no_way_to_fit_changes_a_bit(card: Card) -> None:
    features, wanted, knobs = card.run()
    ways = {tuple(knobs.items())}
    for failure_count in (1, 2, 3):
        failures = Failures(at=frozenset(range(20, 20 + failure_count)))
        again, found, knobs = card.run(partial(card.device.fail, failures))
        ways.add(tuple(knobs.items()))
        assert again.tobytes() == features.tobytes()
        assert _same(found, wanted)
    assert len(ways) >= 3


@pytest.mark.parametrize("at", slow_but([90], [1, 90, 200]))
def test_masks_go_on_where_memory_ran_out_and_no_bit_changes(
    card: Card, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    _, wanted, _ = card.run()
    put, counts = UnfinishedMasks.put, list[int]()

    def counting(
        self: UnfinishedMasks, masks: NDArray[np.bool_], ious: NDArray[np.float32]
    ) -> None:
        counts.append(len(ious))
        put(self, masks, ious)

    monkeypatch.setattr(UnfinishedMasks, "put", counting)
    _, found, _ = card.run(partial(card.device.fail, Failures(at=frozenset({at}))))
    events = card.engines.memory.monitor.events()[1]
    assert [e.kind for e in events].count(EventKind.STEP_DOWN) == 1
    assert sum(counts) == SETTINGS.prompt_count
    assert _same(found, wanted)


def test_features_survive_masks_that_ran_out_more_than_once(card: Card) -> None:
    _, wanted, _ = card.run()
    failures = Failures(at=frozenset({60, 200}))
    _, found, _ = card.run(partial(card.device.fail, failures))
    stages = [e for e in card.engines.memory.monitor.events()[1] if e.kind is EventKind.STAGE]
    assert [e.subject for e in stages].count("Encoding the mesh") == 2
    assert _same(found, wanted)


def test_weights_that_left_and_came_back_change_no_bit(card: Card) -> None:
    features, wanted, _ = card.run()
    for keep_on_host in (True, False):
        leave = partial(card.manager.unload, P3SAM, keep_on_host=keep_on_host)
        again, found, _ = card.run(leave)
        assert again.tobytes() == features.tobytes()
        assert _same(found, wanted)
