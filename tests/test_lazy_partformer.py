import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from torch import nn

from lazy_partformer import CONDITIONER, DIT, VAE, LazyPartFormer
from model_manager import ComponentSpec, ModelManager
from partwise.core.errors import Cancelled, MeshError, WeightsError
from partwise.core.progress import CancelToken, Progress
from partwise.vram.device import Device
from partwise.vram.settings import VramSettings
from partwise.vram.worker_device import WorkerDevice
from partwise.vram.worker_runner import WorkerRunner
from partwise.xpart.config import TINY
from partwise.xpart.finish import FinishedPart
from partwise.xpart.settings import XPartSettings
from tests.xpart_support import components, two_blocks

QUICK = XPartSettings(steps=3, octree_resolution=128)


@pytest.fixture
def manager() -> Iterator[ModelManager]:
    manager = ModelManager(Device(), VramSettings())
    for spec in components():
        manager.register(spec)
    yield manager
    manager.shutdown()


def lazy(manager: ModelManager, **kwargs: Any) -> LazyPartFormer:
    return LazyPartFormer(manager, config=TINY, precision="fp32", **kwargs)


def test_making_one_loads_nothing(manager: ModelManager) -> None:
    assert not lazy(manager).is_loaded


def test_a_call_gives_a_mesh_for_each_box_and_unloads(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    made = pipeline(*two_blocks(), QUICK)
    assert len(made) == 2
    assert all(isinstance(part, FinishedPart) for part in made)
    assert not pipeline.is_loaded


def test_the_same_seed_gives_the_same_meshes(manager: ModelManager) -> None:
    one, other = (lazy(manager)(*two_blocks(), QUICK) for _ in range(2))
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.vertices, second.vertices)
        assert np.array_equal(first.faces, second.faces)


@pytest.mark.slow
def test_in_a_process_of_its_own_the_same_seed_gives_the_same_meshes(manager: ModelManager) -> None:
    more = XPartSettings(steps=12, octree_resolution=128)  # more than one call of the sampler
    settings = VramSettings(is_isolated=True)
    runner = WorkerRunner("tests.xpart_support:components", (), settings)
    apart = ModelManager(WorkerDevice(Device(), runner), settings, runner=runner)
    for spec in components():
        apart.register(spec)
    try:
        pairs = zip(
            lazy(manager)(*two_blocks(), more), lazy(apart)(*two_blocks(), more), strict=True
        )
        for first, second in pairs:
            assert np.allclose(first.vertices, second.vertices, rtol=0, atol=1e-3)
    finally:
        apart.shutdown()


def test_each_stage_has_its_own_component_alone(manager: ModelManager) -> None:
    seen: list[frozenset[str]] = []

    def watch(_: Progress) -> None:
        seen.append(frozenset(manager.resident_weights(is_in_use=True)))

    lazy(manager)(*two_blocks(), QUICK, progress=watch)
    in_use = list(dict.fromkeys(names for names in seen if names))
    assert in_use == [frozenset({CONDITIONER}), frozenset({DIT}), frozenset({VAE})]


def test_a_call_keeps_the_components_when_told_so(manager: ModelManager) -> None:
    pipeline = lazy(manager, unload_after=False)
    pipeline(*two_blocks(), QUICK)
    assert pipeline.is_loaded
    pipeline.unload()
    assert not pipeline.is_loaded


def test_unloads_after_an_error_too(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    vertices, faces, aabbs = two_blocks()
    with pytest.raises(MeshError):
        pipeline(vertices, faces, aabbs + 100.0, QUICK)
    assert not pipeline.is_loaded


@pytest.mark.parametrize("after", range(0, 12, 3))
def test_a_cancel_at_any_time_leaves_nothing(manager: ModelManager, after: int) -> None:
    pipeline, cancel, reports = lazy(manager), CancelToken(), []

    def watch(step: Progress) -> None:
        reports.append(step)
        if len(reports) > after:
            cancel.cancel()

    with pytest.raises(Cancelled):
        pipeline(*two_blocks(), QUICK, cancel=cancel, progress=watch)
    assert not pipeline.is_loaded


def test_stays_loaded_while_somebody_else_uses_it(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    with manager.use(VAE):
        pipeline(*two_blocks(), QUICK)
        assert manager.resident_weights().keys() == {VAE}


def test_missing_weights_are_refused_with_their_sentence() -> None:
    manager = ModelManager(Device(), VramSettings())
    for spec in components():
        manager.register(
            ComponentSpec(spec.name, spec.title, spec.build, lambda: "weights not present")
        )
    with pytest.raises(WeightsError, match="weights not present"):
        lazy(manager)(*two_blocks(), QUICK)
    manager.shutdown()


def test_the_components_are_attributes_which_load_on_first_touch(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    assert isinstance(pipeline.vae, nn.Module)
    assert manager.resident_weights().keys() == {VAE}


def test_any_other_attribute_is_the_partformers(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    assert pipeline.config == TINY.dit
    assert DIT in manager.resident_weights()


def test_a_method_takes_a_lease_for_each_call(manager: ModelManager) -> None:
    keys = lazy(manager).state_dict
    manager.unload_all_models()
    assert "part_embed" in keys()


def test_private_names_never_load(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    with pytest.raises(AttributeError):
        _ = pipeline._ipython_display_
    with pytest.raises(AttributeError):
        _ = pipeline.__array__
    assert not pipeline.is_loaded


def test_a_missing_attribute_is_an_attribute_error(manager: ModelManager) -> None:
    with pytest.raises(AttributeError, match="no_such"):
        _ = lazy(manager).no_such


def test_copies_share_the_manager_and_load_nothing(manager: ModelManager) -> None:
    pipeline = lazy(manager)
    for other in (copy.copy(pipeline), copy.deepcopy(pipeline), copy.deepcopy([pipeline])[0]):
        assert not other.is_loaded
        assert other.config == TINY.dit
        other.unload()


def test_pickling_is_refused_with_a_reason(manager: ModelManager) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(lazy(manager))


def test_an_object_without_a_manager_does_not_recurse() -> None:
    empty = LazyPartFormer.__new__(LazyPartFormer)
    with pytest.raises(AttributeError):
        _ = empty.depth


def test_repr_loads_nothing(manager: ModelManager) -> None:
    assert repr(lazy(manager)) == "<LazyPartFormer, not loaded>"
