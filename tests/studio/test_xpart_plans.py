"""What X-Part asks the planner for: its ways to run on GPUs and on CPUs of many sizes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from partwise.vram.plan import Ladder, Plan, Preferences, Room, Rung, StageOption
from partwise.vram.planner import in_words, plan
from partwise.xpart.config import TINY
from partwise.xpart.settings import XPartSettings
from studio.catalog import Engines
from studio.xpart_need import Run, need_of, waiting_bytes
from studio.xpart_pace import XPartPace
from tests.xpart_support import write_tiny_weights

MIB, GIB = 2**20, 2**30
RUN = Run(50, XPartSettings(), TINY)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_weights(folder)
    return folder


def engines(
    weights: Path,
    wanted: Preferences | None = None,
    *,
    is_gpu: bool = True,
    host_bytes: int = 64 * GIB,
) -> Engines:
    memory = SimpleNamespace(
        device=SimpleNamespace(read=lambda: SimpleNamespace(is_gpu=is_gpu)),
        host=SimpleNamespace(read=lambda: SimpleNamespace(available_bytes=host_bytes)),
        control=SimpleNamespace(preferences=lambda: wanted or Preferences()),
        peaks=SimpleNamespace(factor=lambda *key: 1.0),
    )
    manager = SimpleNamespace(host_weights=lambda: {})
    found = SimpleNamespace(
        weights_dir=weights, memory=memory, manager=manager, xpart_pace=XPartPace()
    )
    return cast(Engines, found)


def offloaded(engines: Engines, streaming: str) -> list[StageOption]:
    """The ways to denoise with skips on the host, of the first form of that kind."""
    form = next(form for form in need_of(RUN, engines).forms if form.streaming == streaming)
    sample = next(stage for stage in form.stages if stage.name == "sample")
    return [option for option in sample.options if option.knobs["is_offloaded"]]


def test_skips_wait_on_the_host_only_where_weights_are_sent_already(weights: Path) -> None:
    assert offloaded(engines(weights), "blocks")
    assert not offloaded(engines(weights), "")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_weights_of_a_pinned_type_are_whole_where_there_is_room(
    weights: Path, precision: str
) -> None:
    wanted = Preferences(precision=precision)
    room = Room(True, 24 * GIB, 24 * GIB, host_free_bytes=64 * GIB)
    found = plan(need_of(RUN, engines(weights, wanted)), room, wanted)
    assert (found.fits, found.streaming, found.precision) == (True, "", precision)
    assert found.stage("sample").knobs["part_batch"] == RUN.part_count


@pytest.mark.parametrize(
    "wanted", [Preferences(rung=Rung.STAGED), Preferences(ladder=Ladder.QUANTIZED)]
)
def test_skips_wait_on_the_host_where_streaming_is_not_allowed(
    weights: Path, wanted: Preferences
) -> None:
    assert offloaded(engines(weights, wanted), "")


def test_skips_never_wait_on_a_host_that_has_no_room_for_them(weights: Path) -> None:
    enough = waiting_bytes(RUN)
    assert offloaded(engines(weights, host_bytes=enough), "blocks")
    assert not offloaded(engines(weights, host_bytes=enough - 1), "blocks")
    assert waiting_bytes(replace(RUN, part_count=10)) < enough


def test_a_small_machine_without_a_gpu_is_told_that_weights_stay_in_their_file(
    weights: Path,
) -> None:
    wanted = Preferences(rung=Rung.STREAMED)
    found = _on_cpu(weights, wanted)
    assert found.streaming == "experts"
    assert "read from the file as they are needed" in in_words(found)
    assert "read from the file" not in in_words(_on_cpu(weights, Preferences()))


def _on_cpu(weights: Path, wanted: Preferences) -> Plan:
    room = Room(False, 8 * GIB, 5 * GIB, host_free_bytes=5 * GIB, own_bytes=300 * MIB)
    here = engines(weights, wanted, is_gpu=False, host_bytes=5 * GIB)
    return plan(need_of(replace(RUN, part_count=2), here), room, wanted)
