"""ZeroGPU Spaces: handlers that borrow a GPU for one call. Elsewhere nothing of this is active.

On such a Space the process holds no GPU between calls: a decorated function runs in a forked
worker, its arguments and result are pickled, and an error that is not `gr.Error` would reach the
person as a bare class name.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from studio.catalog import is_gpu_borrowed
from studio.ui.errors import as_toast

try:
    import spaces
except ImportError:  # not on a Space: nothing to borrow
    spaces = None

T = TypeVar("T")


def is_zerogpu() -> bool:
    """Whether this process runs on a ZeroGPU Space."""
    return spaces is not None and is_gpu_borrowed()


def on_gpu(function: Callable[[], T], *, duration_s: int) -> Callable[[], T]:
    """`function` with a GPU for at most `duration_s`; its errors keep their text."""

    @functools.wraps(function)
    def with_text() -> T:
        try:
            return function()
        except gr.Error:
            raise
        except Exception as err:
            raise as_toast(err) from err

    if spaces is None:
        return with_text
    decorated: Callable[[], T] = spaces.GPU(duration=duration_s)(with_text)
    return decorated


def _read_gpu() -> dict[str, Any]:
    from partwise.vram.cuda import measure_cuda

    return measure_cuda()


read_gpu = on_gpu(_read_gpu, duration_s=10)


def build_gpu_probe() -> None:
    """On a ZeroGPU Space: a button that borrows the GPU for a moment and shows its memory."""
    if not is_zerogpu():
        return
    with gr.Group():
        gr.Markdown("No GPU is held between calls; the figures come back with a call.")
        button = gr.Button("Measure the GPU")
        figures = gr.JSON(label="Last call")
    button.click(read_gpu, None, figures, api_name="gpu")
