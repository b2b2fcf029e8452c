"""Measured peaks: what is learned, how it is kept, and that no file can do harm."""

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.vram.peaks import MeasuredPeaks

ROOT = Path(__file__).parents[2]
STAGE = ("p3sam", "masks", "fp32")


def _note(peaks: MeasuredPeaks, measured: int, predicted: int = 100) -> None:
    peaks.note(*STAGE, predicted_bytes=predicted, measured_bytes=measured)


def test_what_is_not_known_changes_nothing() -> None:
    assert MeasuredPeaks(None, "here").factor(*STAGE) == 1.0


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=20))
def test_a_factor_is_never_far_off(notes: list[tuple[int, int]]) -> None:
    peaks = MeasuredPeaks(None, "here")
    for predicted, measured in notes:
        _note(peaks, measured, predicted)
    assert 0.5 <= peaks.factor(*STAGE) <= 4.0


def test_the_largest_of_the_last_eight_counts() -> None:
    peaks = MeasuredPeaks(None, "here")
    for measured in (300, 130, 110, 120, 90, 90, 90, 90):
        _note(peaks, measured)
    assert peaks.factor(*STAGE) == 3.0
    _note(peaks, 90)
    assert peaks.factor(*STAGE) == 1.3


def test_one_measurement_raises_a_prediction_and_three_lower_it() -> None:
    peaks = MeasuredPeaks(None, "here")
    factors = []
    for measured in (80, 70, 75):
        _note(peaks, measured)
        factors.append(peaks.factor(*STAGE))
    assert factors == [1.0, 1.0, 0.8]


def test_stages_precisions_and_machines_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "peaks.json"
    here, there = MeasuredPeaks(file, "here"), MeasuredPeaks(file, "there")
    _note(here, 150)
    _note(there, 200)
    assert here.factor("p3sam", "masks", "int8") == 1.0
    assert here.factor("p3sam", "features", "fp32") == 1.0
    assert MeasuredPeaks(file, "here").factor(*STAGE) == 1.5
    assert MeasuredPeaks(file, "there").factor(*STAGE) == 2.0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"somebody": "else"}',
        b'{"format": "partwise measured peaks 1"}',
        b'{"format": "partwise measured peaks 1", "machines": {"here": 5}}',
        b'{"format": "partwise measured peaks 1", "machines": {"here": {"a/b/c": [NaN]}}}',
        b'{"format": "partwise measured peaks 1", "machines": {"here": {"a/b/c": [1e9]}}}',
        b'{"format": "partwise measured peaks 1", "machines": {"here": {"a/b/c": ["1"]}}}',
        b"[" * 100_000,
        b"9" * 100_000,
    ],
)
def test_a_damaged_or_foreign_file_is_started_anew_and_the_log_says_so(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "peaks.json"
    file.write_bytes(content)
    peaks = MeasuredPeaks(file, "here")
    with caplog.at_level(logging.WARNING):
        assert peaks.factor(*STAGE) == 1.0
    assert "measured anew" in caplog.text
    _note(peaks, 200)
    assert MeasuredPeaks(file, "here").factor(*STAGE) == 2.0


def test_a_place_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    peaks = MeasuredPeaks(tmp_path / "file" / "peaks.json", "here")
    for measured in (200, 300):
        _note(peaks, measured)
    assert peaks.factor(*STAGE) == 3.0
    assert caplog.text.count("cannot be kept") == 1


def test_threads_lose_no_note(tmp_path: Path) -> None:
    file = tmp_path / "peaks.json"
    peaks = MeasuredPeaks(file, "here")

    def work(stage: str) -> None:
        for measured in range(101, 109):
            peaks.note("p3sam", stage, "fp32", predicted_bytes=100, measured_bytes=measured)
            peaks.factor("p3sam", stage, "fp32")

    threads = [threading.Thread(target=work, args=(f"stage {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = json.loads(file.read_text())["machines"]["here"]
    assert len(kept) == 4
    assert all(len(ratios) == 8 for ratios in kept.values())


def test_two_processes_leave_a_whole_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "peaks.json"
    code = (
        "import sys, logging; from pathlib import Path\n"
        "from partwise.vram.peaks import MeasuredPeaks\n"
        "logging.disable(); logging.raiseExceptions = True\n"
        "peaks = MeasuredPeaks(Path(sys.argv[1]), sys.argv[2])\n"
        "for i in range(100):\n"
        "    peaks.note('p3sam', 'masks', 'fp32', predicted_bytes=100, measured_bytes=150)\n"
        "    assert peaks.factor('p3sam', 'masks', 'fp32') == 1.5\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(file), name], cwd=ROOT)
        for name in ("one", "two")
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    last = [name for name in ("one", "two") if MeasuredPeaks(file, name).factor(*STAGE) == 1.5]
    assert last  # whoever wrote last is there for certain
    assert json.loads(file.read_text())["format"]
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_learned_from_nothing_and_negative_bytes_are_refused() -> None:
    peaks = MeasuredPeaks(None, "here")
    _note(peaks, 0)
    _note(peaks, 400, 0)
    assert peaks.factor(*STAGE) == 1.0
    with pytest.raises(ValueError, match="below 0"):
        _note(peaks, -1)
