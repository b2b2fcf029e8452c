"""The benchmark of X-Part: what it counts is what it finds, and one tiny run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import xpart, xpart_queries, xpart_strategies
from benchmarks.xpart_stages import QUICK, StageRow, measure_stages
from benchmarks.xpart_strategies import PUBLISHED, StrategyRow, predict_strategies

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def strategies() -> list[StrategyRow]:
    return list(predict_strategies())


@pytest.fixture(scope="module")
def stages() -> list[StageRow]:
    return list(measure_stages(QUICK))


def test_each_strategy_takes_less_than_the_one_before(strategies: list[StrategyRow]) -> None:
    for part_count in xpart_strategies.PARTS:
        peaks = [row.smallest_bytes for row in strategies if row.part_count == part_count]
        assert peaks == sorted(peaks, reverse=True)
        assert len(set(peaks)) == 4


def test_more_parts_take_more_and_faster_ways_too(strategies: list[StrategyRow]) -> None:
    for name in "ABCD":
        rows = [row for row in strategies if row.strategy == name]
        peaks = [row.smallest_bytes for row in rows]
        assert peaks == sorted(peaks)
        assert all(row.smallest_bytes <= row.fastest_bytes for row in rows)


def test_predictions_are_near_the_specifications_bounds(strategies: list[StrategyRow]) -> None:
    compared = [row for row in strategies if row.published_gb is not None]
    assert len(compared) == len(PUBLISHED)
    for row in compared:
        assert row.published_gb is not None
        assert abs(row.sampling_bytes / 1e9 - row.published_gb) < 0.4 + 0.02 * row.published_gb


def test_what_is_counted_is_what_a_real_run_takes(stages: list[StageRow]) -> None:
    assert {row.stage for row in stages} == {"condition", "sample", "decode"}
    for row in stages:
        assert row.counted_flops == pytest.approx(row.measured_flops, rel=0.1), row
        # Real tokens choose different experts; a real system rounds nothing up.
        assert 0.95 * row.measured_bytes < row.counted_bytes < 1.25 * row.measured_bytes, row


def test_a_quick_run_writes_all_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: list[StageRow]
) -> None:
    monkeypatch.setattr(xpart, "measure_stages", lambda config: iter(stages))
    monkeypatch.setattr(xpart_queries, "measure_queries", lambda *given, **more: [])
    given = ["--quick", "--machine", "here", "--results", str(tmp_path / "results")]
    assert xpart.main([*given, "--stream-folder", str(tmp_path / "weights")]) == 0
    written = json.loads((tmp_path / "results" / "here.xpart-quick.json").read_text("utf-8"))
    figures = written["xpart"]
    assert set(figures) == {
        "strategies",
        "stages",
        "queries",
        "precision",
        "streamed_step",
    }
    assert set(figures["precision"]["relative_rms"]) == {"bf16", "fp16", "int8", "int4"}
    assert len(figures["strategies"]["rows"]) == 16
    step = figures["streamed_step"]
    assert 0 < step["before_bytes"] < step["peak_bytes"]
    assert list((tmp_path / "weights").iterdir()) == []


def test_without_room_the_streamed_step_says_why_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = xpart._streamed_step(None, is_tiny=False)
    assert "6.6 GB" in found["skipped"]
    monkeypatch.setattr(xpart.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert "1.0 GB free" in xpart._streamed_step(tmp_path, is_tiny=False)["skipped"]
    assert list(tmp_path.iterdir()) == []
