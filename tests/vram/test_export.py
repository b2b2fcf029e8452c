import csv
import io
import json
import re
from dataclasses import replace

from partwise.vram.export import history_csv, history_json, prometheus_text, status_payload
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.plan import Plan, Rung
from partwise.vram.readings import (
    ComponentState,
    ComponentStatus,
    EventKind,
    Fragmentation,
    ManagerStatus,
    MemoryEvent,
)
from partwise.vram.settings import VramSettings
from tests.vram.fakes import GIB, MODELS, FakeDevice, gpu

PLAN = Plan("job", Rung.WHOLE, "fp32", True, False, (), (), (), 3 * GIB, 6 * GIB, 1.0, "", True)
LINE = re.compile(r'^[a-z_]+(\{[a-z]+="(\\.|[^"\\])*"(,[a-z]+="(\\.|[^"\\])*")*\})? [0-9.e+]+$')


def _text(name: str = "Test GPU", **more: float | None) -> str:
    monitor = MemoryMonitor(FakeDevice([gpu(name=name, **more)]), VramSettings())  # type: ignore[arg-type]
    return prometheus_text(monitor.latest(), MODELS)


def test_each_line_is_a_comment_or_a_sample() -> None:
    lines = _text('a "GPU" \\ of\nmine').splitlines()
    assert all(line.startswith("# ") or LINE.match(line) for line in lines)
    named = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    typed = [line.split(" ")[2] for line in lines if line.startswith("# TYPE")]
    assert sorted(typed) == sorted(named)


def test_the_figures_are_bytes() -> None:
    text = _text()
    total = 24 * GIB
    assert f'partwise_device_memory_bytes{{device="Test GPU",kind="total"}} {total}\n' in text
    assert 'partwise_model_weight_bytes{model="p3sam"} 451000000\n' in text


def test_unknown_figures_are_left_out() -> None:
    text = _text(context=None)
    assert 'share="context"' not in text
    assert 'share="unattributed"' in text


def test_the_payload_is_json() -> None:
    monitor = MemoryMonitor(FakeDevice([gpu()]), VramSettings())
    payload = json.loads(json.dumps(status_payload(monitor.latest(), MODELS)))
    assert payload["device"]["kind"] == "cuda"
    assert payload["manager"]["components"][1]["why_unavailable"] == "weights not present"


def test_budget_fragments_parked_weights_events_and_plan_are_told_when_they_are_known() -> None:
    reading = replace(
        gpu(), budget_bytes=4 * GIB, fragmentation=Fragmentation(GIB, GIB // 4, 9, GIB // 2)
    )
    monitor = MemoryMonitor(FakeDevice([reading]), VramSettings())
    monitor.record(MemoryEvent(EventKind.STEP_DOWN, "Masks"))
    parked = ComponentStatus(
        "xpart", "X-Part", ComponentState.PARKED, host_bytes=3 * GIB, is_pinned=True
    )
    text = prometheus_text(
        monitor.latest(),
        ManagerStatus((parked,), 300.0),
        event_counts=monitor.event_counts(),
        plan=PLAN,
    )
    for sample in (
        f'device_memory_bytes{{device="Test GPU",kind="budget"}} {4 * GIB}',
        f'cache_fragment_bytes{{kind="largest_free_block"}} {GIB // 4}',
        f'cache_fragment_bytes{{kind="inactive_split"}} {GIB // 2}',
        f'model_host_bytes{{model="xpart",pinned="true"}} {3 * GIB}',
        f'plan_bytes{{kind="peak"}} {3 * GIB}',
        f'plan_bytes{{kind="room"}} {6 * GIB}',
        'memory_events_total{kind="step down"} 1',
        'memory_events_total{kind="load"} 0',
    ):
        assert f"partwise_{sample}\n" in text
    assert "# TYPE partwise_memory_events_total counter\n" in text
    assert all(
        name not in _text() for name in ("budget", "fragment", "host_bytes", "plan", "events")
    )


def _history() -> tuple[MemoryMonitor, list[dict[str, str]]]:
    monitor = MemoryMonitor(FakeDevice([gpu(), gpu(context=None)]), VramSettings())
    monitor.sample_now()
    monitor.record(MemoryEvent(EventKind.JOB_START, '=HYPERLINK("x"), a "chair"\nof mine'))
    monitor.sample_now()
    text = history_csv(monitor.history(), monitor.events()[1])
    return monitor, list(csv.DictReader(io.StringIO(text)))


def test_the_table_has_readings_and_events_by_time() -> None:
    monitor, rows = _history()
    assert [row["row"] for row in rows] == ["reading", "job start", "reading"]
    times = [float(row["time_s"]) for row in rows]
    assert times == sorted(times)
    assert int(rows[0]["total"]) == 24 * GIB
    assert (rows[0]["context"], rows[2]["context"]) == (str(GIB // 2), "")
    assert len(rows) == len(monitor.history()) + monitor.events()[0]


def test_no_cell_is_a_formula() -> None:
    _, rows = _history()
    assert rows[1]["subject"] == '\'=HYPERLINK("x"), a "chair"\nof mine'
    assert not any(value.startswith(("=", "+", "@")) for row in rows for value in row.values())


def test_the_history_in_json_holds_the_same_figures() -> None:
    monitor, rows = _history()
    payload = json.loads(history_json(monitor.history(), monitor.events()[1]))
    assert [each["free"] for each in payload["readings"]] == [
        int(row["free"]) for row in rows if row["row"] == "reading"
    ]
    assert payload["readings"][1]["context"] is None
    assert payload["events"][0]["kind"] == "job start"
