"""The memory panel: who holds the memory, for how long, what is planned, and what can be changed.

Its page side are `memory_panel.*`, `memory_plan.*` and `memory_timeline.js` in `assets/`. Once a
second each page gets a tick, at most 1 KB; history, plan and texts come once, and again when the
page asks because something in them changed.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import gradio as gr

from model_manager import ModelManager
from partwise.vram.control import MemoryControl
from partwise.vram.export import history_csv, history_json
from partwise.vram.monitor import MemoryMonitor
from studio.configuration import ROOT
from studio.ui.memory_payload import full_payload, tick_payload, unload_words
from studio.ui.memory_plan import change_budget, change_ladder, control_details

_TICK_S = 1.0
_SCRIPTS = ("memory_timeline.js", "memory_plan.js", "memory_panel.js")  # in this order, as one

Payload = dict[str, Any]


@dataclass(frozen=True)
class MemoryPanel:
    """What the page may need of the panel: its component, its timer and its events.

    settings: the events by which a visitor changed what jobs may use.
    """

    html: gr.HTML
    timer: gr.Timer
    tick: Any
    refresh: Any
    unload: Any
    settings: tuple[Any, ...]


def nobody(headers: Mapping[str, str]) -> bool:
    """No visitor may change the server's memory settings."""
    return False


def build_memory_panel(
    monitor: MemoryMonitor,
    manager: ModelManager,
    control: MemoryControl | None = None,
    *,
    may_change: Callable[[Mapping[str, str]], bool] = nobody,
) -> MemoryPanel:
    """Put the panel where the caller's layout stands, with its events.

    may_change: whether a visitor may set budget and ladder, by the request's headers, whose names
    are in lower case. Without a `control` the panel shows neither.
    """
    view = _View(monitor, manager, control, may_change)
    html = gr.HTML(
        None,
        html_template=_asset("memory_panel.html"),
        css_template=_asset("memory_panel.css") + _asset("memory_plan.css"),
        js_on_load="".join(_asset(name) for name in _SCRIPTS),
        apply_default_css=False,
        elem_id="memory-panel",
        label="memory panel",
    )
    timer = gr.Timer(_TICK_S)

    def wire(
        event: Callable[..., Any],
        handler: Callable[..., Payload],
        trigger_mode: Literal["always_last", "multiple"] = "always_last",
    ) -> Any:
        return event(
            handler,
            None,
            html,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
            trigger_mode=trigger_mode,
        )

    # gradio drops the data of an event that comes while another one is answered
    settings = (
        wire(html.set_budget, view.set_budget, "multiple"),
        wire(html.set_ladder, view.set_ladder, "multiple"),
    )
    wire(html.export, view.export, "multiple")
    return MemoryPanel(
        html=html,
        timer=timer,
        tick=wire(timer.tick, view.tick),
        refresh=wire(html.refresh, view.refresh),
        unload=wire(html.unload_now, view.unload),
        settings=settings,
    )


@dataclass(frozen=True)
class _View:
    """The panel's handlers: what one visitor sees and asks for."""

    monitor: MemoryMonitor
    manager: ModelManager
    control: MemoryControl | None
    may_change: Callable[[Mapping[str, str]], bool]

    def tick(self, request: gr.Request) -> Payload:
        return tick_payload(self.monitor, self.manager.get_status(), self._wishes(request))

    def refresh(self, request: gr.Request) -> Payload:
        return full_payload(self.monitor, self.manager.get_status(), self._wishes(request))

    def unload(self, request: gr.Request) -> Payload:
        before = self.monitor.sample_now()
        report = self.manager.unload_all_models()
        after = self.monitor.sample_now()
        report = replace(report, before_bytes=before.held_bytes, after_bytes=after.held_bytes)
        return {**self.tick(request), "r": unload_words(report, self.manager.get_status())}

    def set_budget(self, event: gr.EventData, request: gr.Request) -> Payload:
        may_change = self._may_change(request)
        text, reading = _said(event, "gib"), self.monitor.latest()
        answer = change_budget(self.control, text, reading, may_change=may_change)
        self.monitor.sample_now()  # the reading tells what is in force
        return {**self.refresh(request), "br": answer}

    def set_ladder(self, event: gr.EventData, request: gr.Request) -> Payload:
        may_change = self._may_change(request)
        answer = change_ladder(self.control, _said(event, "ladder"), may_change=may_change)
        return {**self.refresh(request), "lr": answer}

    def export(self, event: gr.EventData, request: gr.Request) -> Payload:
        is_csv = _said(event, "format") == "csv"
        return {**self.tick(request), "x": export_payload(self.monitor, is_csv=is_csv)}

    def _wishes(self, request: gr.Request) -> Payload:
        may_change = self._may_change(request)
        return control_details(self.control, self.monitor.latest(), may_change=may_change)

    def _may_change(self, request: gr.Request) -> bool:
        return self.may_change({name.lower(): value for name, value in request.headers.items()})


def export_payload(monitor: MemoryMonitor, *, is_csv: bool) -> Payload:
    """The kept history and events as a file: its name, its type, its text."""
    extension, write = ("csv", history_csv) if is_csv else ("json", history_json)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return {
        "name": f"partwise-memory-{stamp}.{extension}",
        "type": "text/csv" if is_csv else "application/json",
        "text": write(monitor.history(), monitor.events()[1]),
    }


def _said(event: gr.EventData, name: str) -> object:
    """What the page sent under a name; None when it sent nothing of the kind."""
    return event._data.get(name) if isinstance(event._data, dict) else None


def _asset(name: str) -> str:
    return (ROOT / "assets" / name).read_text(encoding="utf-8")
