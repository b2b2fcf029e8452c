import json
import re

from partwise.vram.export import prometheus_text, status_payload
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.settings import VramSettings
from tests.vram.fakes import GIB, MODELS, FakeDevice, gpu

LINE = re.compile(r'^[a-z_]+(\{[a-z]+="(\\.|[^"\\])*"(,[a-z]+="(\\.|[^"\\])*")*\})? [0-9.e+]+$')


def _text(name: str = "Test GPU", **more: float | None) -> str:
    monitor = MemoryMonitor(FakeDevice([gpu(name=name, **more)]), VramSettings())  # type: ignore[arg-type]
    return prometheus_text(monitor.latest(), MODELS)


def test_each_line_is_a_comment_or_a_sample() -> None:
    lines = _text('a "GPU" \\ of\nmine').splitlines()
    assert all(line.startswith("# ") or LINE.match(line) for line in lines)
    assert len({line for line in lines if line.startswith("# TYPE")}) == 6


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
