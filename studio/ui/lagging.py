"""What a tab shows of a job of the other tab: that it runs, and afterwards that it has ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.ui.flows import Status
from studio.workspace import Session

SEGMENT_TAB, GENERATE_TAB = "segment", "generate"


def busy_status(session: Session, tab: str) -> Status:
    """What a tab says while a job runs that it does not follow; `Follower` tells of the end."""
    session.lagging_tabs.add(tab)
    return Status("running")


@dataclass(frozen=True)
class Follower:
    """Shows a tab anew when a job has ended that the tab showed as running.

    show: all of the tab, given the request and the values of `inputs`.
    """

    tab: str
    session_of: Callable[[gr.Request], Session]
    show: Callable[..., tuple[Any, ...]]
    inputs: list[Any]
    outputs: list[Any]

    def settle(self, request: gr.Request, *values: Any) -> Any:
        """The values of `outputs`, or nothing when the tab is not behind."""
        session = self.session_of(request)
        if self.tab not in session.lagging_tabs or session.is_busy:
            return [gr.skip() for _ in self.outputs]
        session.lagging_tabs.discard(self.tab)
        return self.show(request, *values)

    def follow(self, jobs: list[Any], **settings: Any) -> None:
        """Settle after each of these events."""
        for job in jobs:
            job.then(self.settle, self.inputs, self.outputs, **settings)
