"""The page: header, the two tabs, the memory panel beside them, and what goes between tabs."""

from html import escape
from typing import Any

import gradio as gr

from partwise import __version__
from studio.access import may_change_server
from studio.catalog import GENERATE, GEOMETRIC, LICENCE, SEGMENT
from studio.configuration import ROOT
from studio.ui import api, zerogpu
from studio.ui.generate_tab import GenerateTab, build_generate_tab
from studio.ui.memory_panel import build_memory_panel
from studio.ui.segment_tab import AT_ONCE, SegmentTab, build_segment_tab
from studio.ui.weights_panel import build_weights_panel
from studio.workflow import Studio

STYLE = ROOT / "assets" / "style.css"
_TOGGLE_THEME = """
element.addEventListener('click', (event) => {
  if (event.target.closest('button')) document.body.classList.toggle('dark');
});
"""


def build_page(studio: Studio) -> gr.Blocks:
    """The whole page with its events; nothing is loaded and no job runs until one is asked for."""
    page = gr.Blocks(
        title="Partwise", analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)
    )
    with page:
        api.build_api(studio)  # first, so that no event of the page takes one of its names
        header = gr.HTML(_header(studio), js_on_load=_TOGGLE_THEME, elem_id="header")
        with gr.Row(elem_classes="pw-columns"):
            with gr.Column(min_width=320, elem_classes="pw-main"):
                segment, generate = _build_tabs(studio)
            with gr.Column(min_width=320, elem_classes="pw-side"):
                panel = build_memory_panel(
                    studio.monitor,
                    studio.manager,
                    studio.memory.control,
                    may_change=lambda headers: may_change_server(studio.configuration, headers),
                )
                for changed in panel.settings:
                    segment.replan(changed)
                    generate.replan(changed)
                for finished in build_weights_panel(studio).finished:
                    segment.refresh(finished.then)
                    generate.replan(finished)
                    finished.then(lambda: _header(studio), None, header, **AT_ONCE)
                zerogpu.build_gpu_probe()
        page.load(lambda: _header(studio), None, header, **AT_ONCE)  # weights come and go

        def leave(request: gr.Request) -> None:
            studio.workspace.abandon(str(request.session_hash))

        page.unload(leave)
    return page


def _build_tabs(studio: Studio) -> tuple[SegmentTab, GenerateTab]:
    with gr.Tabs() as tabs:
        with gr.Tab("Segment", id="segment") as segment_page:
            segment = build_segment_tab(studio)
        with gr.Tab("Generate", id="generate") as generate_page:
            generate = build_generate_tab(studio)

    def send(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        return (gr.Tabs(selected="generate"), *generate.fill(request, *values))

    segment.send.click(send, generate.inputs, [tabs, *generate.filled], **AT_ONCE)
    # one after the other: the next is to see the list of parts that the one before gave
    in_turn = AT_ONCE | {"trigger_mode": "always_last"}
    generate_page.select(generate.fill, generate.inputs, generate.filled, **in_turn)
    segment.refresh(segment_page.select)  # boxes and closed parts change its files' addresses
    segment.refresh(generate.new_cut.then)
    for follower in (segment.follower, generate.follower):
        follower.follow([*segment.jobs, *generate.jobs], **AT_ONCE)
    return segment, generate


def _header(studio: Studio) -> str:
    device = studio.monitor.device_label()
    choices = {job: studio.engines.choose(job) for job in (SEGMENT, GENERATE)}
    engines = " · ".join(f"{job} by {choice.title}" for job, choice in choices.items())
    neural = [choice.title for choice in choices.values() if choice.name != GEOMETRIC]
    chip = " + ".join(neural) or "Built-in engine"
    note = f"Neural models: {LICENCE}. Their weights are not included."
    return f"""
<header class="pw-header">
  <h1>Partwise <small>{escape(__version__)}</small></h1>
  <span class="pw-chip" title="Where the work is done">{escape(device)}</span>
  <span class="pw-chip" title="{escape(engines)}">{escape(chip)}</span>
  <span class="pw-licence">{escape(note)}</span>
  <button type="button" class="pw-theme" aria-label="Switch between light and dark">◐</button>
</header>"""
