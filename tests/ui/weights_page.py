"""A small page with nothing but the panel of the neural models, and a small file for a model.

python tests/ui/weights_page.py FOLDER SOURCE BYTES [HOST]: the weights folder, the repository, the
size of its file, and the address that the settings name; prints the page's address.
"""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import gradio as gr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio.configuration import load_configuration
from studio.ui import weights_panel
from studio.ui.layout import STYLE
from studio.workflow import Studio


def main(folder: str, source: str, file_bytes: str, host: str = "127.0.0.1") -> None:
    """Serve the page until it is killed."""
    first, *others = weights_panel.NEURAL_MODELS
    small = dataclasses.replace(first, source=source, file_bytes=int(file_bytes))
    weights_panel.NEURAL_MODELS = (small, *others)
    configuration = load_configuration(
        environment={}, overrides={"weights_dir": folder, "host": host}
    )
    studio = cast(Studio, SimpleNamespace(configuration=configuration))
    with gr.Blocks(title="weights") as page:
        after = gr.Textbox(label="after", elem_id="after")
        panel = weights_panel.build_weights_panel(studio)
        panel.finished[0].then(lambda: "finished", None, after)
    page.launch(
        server_name="127.0.0.1",
        ssr_mode=False,
        quiet=True,
        theme=gr.themes.Base(primary_hue="indigo", neutral_hue="slate"),
        css_paths=[STYLE],
        prevent_thread_lock=True,
    )
    print(page.local_url, flush=True)  # noqa: T201
    page.block_thread()


if __name__ == "__main__":
    main(*sys.argv[1:])
