"""The web's boundary for errors: what a person sees of a failure, and what the log keeps."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import gradio as gr

from partwise.core.errors import Cancelled
from studio.failure import UNEXPECTED, text_of

__all__ = ["UNEXPECTED", "as_toast", "shown", "text_of"]

T = TypeVar("T")


def shown(steps: Iterator[T], on_error: Callable[[str, str], T]) -> Iterator[T]:
    """Pass on what a handler yields; a failure becomes `on_error(state, text)`, never a crash."""
    try:
        yield from steps
    except Cancelled as error:
        yield on_error("ready", error.message)
    except Exception as error:
        yield on_error("error", text_of(error))


def as_toast(error: BaseException) -> gr.Error:
    """The error for events that have no place of their own to show it, and for API callers."""
    return gr.Error(text_of(error), title="Partwise", print_exception=False)
