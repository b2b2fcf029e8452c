"""Partwise: read the settings, build the workflow, build the page, launch. Start with ./run."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from partwise.core.errors import AppError
from studio.configuration import Configuration, load_configuration
from studio.gradio_environment import set_gradio_environment, without_proxy
from studio.memory_options import add_memory_options, memory_overrides
from studio.workflow import build_studio


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until it is stopped; returns the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio asks its own server at start
    options = _parser().parse_args(arguments)
    try:
        given = {"host": options.host, "port": options.port, "weights_dir": options.weights}
        configuration = load_configuration(
            overrides=given, memory_overrides=memory_overrides(options)
        )
        _serve(configuration, open_browser=options.browser)
    except AppError as error:
        sys.stderr.write(f"Partwise: {error.message}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (7860)")
    parser.add_argument("--weights", metavar="DIR", help="folder with the neural models' weights")
    parser.add_argument(
        "--no-browser", dest="browser", action="store_false", help="do not open the browser"
    )
    add_memory_options(parser)
    return parser


def _serve(configuration: Configuration, *, open_browser: bool) -> None:
    studio = build_studio(configuration)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        set_gradio_environment(studio.workspace.uploads)
        with without_proxy():
            from studio.ui.launch import launch_page  # gradio reads the environment at its import
        launch_page(studio, open_browser=open_browser and "SPACE_ID" not in os.environ)
    finally:
        studio.close()


if __name__ == "__main__":
    sys.exit(main())
