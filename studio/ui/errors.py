"""The web's boundary for errors: what a person sees of a failure, and what the log keeps."""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import gradio as gr

from partwise.core.errors import AppError, Cancelled

logger = logging.getLogger(__name__)

T = TypeVar("T")

UNEXPECTED = (
    "Something went wrong inside Partwise; nothing of yours was lost. Try again. If it happens "
    "again, please report it with the server's log."
)


def text_of(error: BaseException) -> str:
    """The sentence to show; errors that are not ours go to the log and show a general one."""
    if isinstance(error, AppError):
        return error.message
    logger.error("unexpected error", exc_info=error)
    return UNEXPECTED


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
