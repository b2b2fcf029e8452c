"""The neural models' weights on the page: what is there, the licence, download and cancel.

A download belongs to the server: a page only starts, watches or stops it, and may be closed.
Visitors of an open server cannot start one; they read how its owner can.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from partwise.core.errors import AppError
from partwise.core.progress import CancelToken, ProgressCallback
from studio import weights
from studio.access import may_change_server
from studio.catalog import NEURAL_MODELS, NeuralModel
from studio.ui.segment_tab import AT_ONCE, JOB
from studio.weights_job import JobStatus, WeightsJob
from studio.workflow import Studio

_TICK_S = 0.25
_NOT_HERE = (
    "This server is open to visitors without a login, so they cannot start downloads. Its owner "
    "can, on the server: "
)
Updates = Generator[tuple[Any, ...], None, None]


@dataclass(frozen=True)
class WeightsPanel:
    """The panel, and the events after which weights may have come: `.then()` can follow them."""

    accordion: gr.Accordion
    finished: tuple[Any, ...]


def build_weights_panel(studio: Studio) -> WeightsPanel:
    """Build the panel where the caller's layout stands, with its events."""
    with gr.Accordion("Neural models", open=False, elem_id="weights") as accordion:
        rows = [_Row(studio, model) for model in NEURAL_MODELS]
    finished = tuple(row.wire(accordion) for row in rows)
    return WeightsPanel(accordion, finished)


class _Row:
    """One model: its components and its download."""

    def __init__(self, studio: Studio, model: NeuralModel) -> None:
        self.studio, self.model = studio, model
        self.job = WeightsJob(model.title)
        name = f"weights-{model.name}"
        self.state = gr.HTML(self._state_html(), elem_id=name)
        self.is_read = gr.Checkbox(
            False, label="I have read the licence and may use the model", elem_id=f"{name}-licence"
        )
        with gr.Row(elem_classes="pw-actions"):
            self.start = gr.Button(
                self._wish(),
                interactive=False,
                elem_id=f"{name}-download",
            )
            self.stop = gr.Button("Cancel", interactive=False, elem_id=f"{name}-cancel")
        self.result = gr.HTML(elem_id=f"{name}-result")

    def wire(self, accordion: gr.Accordion) -> Any:
        """Wire the events; returns the one after which the weights may be there."""

        def download(is_read: bool, request: gr.Request) -> Updates:
            try:
                self._begin(is_read, request)
            except AppError as error:
                yield self.show(JobStatus(error=error.message), is_read, request)
                return
            yield from watch(is_read, request)

        def watch(is_read: bool, request: gr.Request) -> Updates:
            while (status := self.job.status).is_running:
                yield self.show(status, is_read, request)
                time.sleep(_TICK_S)
            yield self.show(status, is_read, request)

        def tick_box(is_read: bool, request: gr.Request) -> tuple[Any, ...]:
            return self.show(self.job.status, is_read, request)

        def cancel(request: gr.Request) -> gr.Button:
            if self._is_allowed(request):
                self.job.cancel()
            return gr.Button(interactive=False)

        outputs = [self.state, self.start, self.stop, self.result]
        accordion.expand(watch, self.is_read, outputs, **JOB)
        self.is_read.input(tick_box, self.is_read, outputs, **AT_ONCE)
        self.stop.click(cancel, None, self.stop, **AT_ONCE)
        return self.start.click(download, self.is_read, outputs, **JOB)

    def show(self, status: JobStatus, is_read: bool, request: gr.Request) -> tuple[Any, ...]:
        """The values of the components that change."""
        is_allowed = self._is_allowed(request)
        is_idle = not status.is_running
        return (
            self._state_html(),
            gr.Button(self._wish(), interactive=bool(is_read) and is_allowed and is_idle),
            gr.Button(interactive=is_allowed and status.is_running and not status.is_stopping),
            _status_html(status) if is_allowed else _owner_html(self.model),
        )

    def _wish(self) -> str:
        """What the button does: bring what is missing, or check what is there."""
        is_here = weights.check(self.model, self.studio.configuration.app.weights_dir).is_ready
        return "Check or repair" if is_here else f"Download {self.model.file_bytes / 1e9:.2f} GB"

    def _begin(self, is_read: bool, request: gr.Request) -> None:
        """Start the download; raises `AppError` when it may not start."""
        if not self._is_allowed(request):
            raise AppError(f"{_NOT_HERE}{_command(self.model)}")
        if not is_read:
            raise AppError("Read the licence first and tick that you have.")
        app = self.studio.configuration.app

        def work(progress: ProgressCallback, cancel: CancelToken) -> str:
            fetched = weights.fetch(
                self.model,
                app.weights_dir,
                revision=app.weights_revision,
                cancel=cancel,
                progress=progress,
            )
            return weights.outcome_words(self.model, app.weights_dir, fetched)

        self.job.start(work)

    def _is_allowed(self, request: gr.Request) -> bool:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return may_change_server(self.studio.configuration, headers)

    def _state_html(self) -> str:
        model = self.model
        state = weights.check(model, self.studio.configuration.app.weights_dir)
        words, notice = weights.state_words(model, state), _notice_html(model)
        return (
            f'<p class="pw-weights"><strong>{escape(model.title)}</strong> · {escape(words)}</p>'
            f"{notice}"
        )


def _notice_html(model: NeuralModel) -> str:
    link = f"https://huggingface.co/{model.source}"
    notice = escape(weights.licence_notice(model)).replace(
        link, f'<a href="{link}" target="_blank" rel="noopener">{link}</a>'
    )
    return f'<p class="pw-weights">{notice}</p>'


def _status_html(status: JobStatus) -> str:
    if status.progress is None:
        text = escape(status.error or status.outcome)
        return f'<p class="pw-weights" role="status">{text}</p>' if text else ""
    step = status.progress
    words = "Stopping …" if status.is_stopping else f"{step.stage} {step.detail}".strip()
    return (
        f'<p class="pw-weights" role="status">{escape(words)}</p>'
        f'<progress max="1" value="{step.fraction:.3f}" aria-label="Download"></progress>'
    )


def _owner_html(model: NeuralModel) -> str:
    text, command = escape(_NOT_HERE), escape(_command(model))
    return f'<p class="pw-weights">{text}<code>{command}</code></p>'


def _command(model: NeuralModel) -> str:
    return f"python cli.py weights fetch {model.name}"
