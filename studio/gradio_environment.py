"""What gradio reads from the environment. Free of gradio, which reads a part at its import."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def set_gradio_environment(uploads: Path) -> None:
    """Let gradio keep all its files in `uploads` and report nothing; before its first import."""
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


@contextlib.contextmanager
def without_proxy() -> Iterator[None]:
    """Let HTTP clients that are made meanwhile connect directly, whatever proxy is set.

    gradio makes clients at its import, which fails for a kind of proxy that they do not know, and
    at its launch it asks its own server. Later requests, as for weights, have the proxy again.
    """
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"  # wins over NO_PROXY, and over the proxies of a desktop's settings
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before
