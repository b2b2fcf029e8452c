"""What a person is told of a failure, and what the log keeps of it. Free of gradio."""

import logging

from partwise.core.errors import AppError

logger = logging.getLogger(__name__)

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
