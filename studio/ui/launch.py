"""Serve the page: what is set for gradio, and the routes beside it."""

import logging
import os
import secrets

import gradio as gr

from partwise.core.errors import ConfigError
from studio.access import address_of, host_of
from studio.http import build_routes
from studio.servers import write_entry
from studio.ui.layout import STYLE, build_page
from studio.ui.viewer import viewer_head
from studio.workflow import Studio

logger = logging.getLogger(__name__)


def launch_page(studio: Studio, *, open_browser: bool = False, block: bool = True) -> gr.Blocks:
    """Build and serve the page; with `block`, return only when it is stopped.

    Raises `ConfigError` when the port is taken.
    """
    app = studio.configuration.app
    host = host_of(studio.configuration)
    os.environ["GRADIO_TEMP_DIR"] = str(studio.workspace.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    control_token = secrets.token_urlsafe()
    page = build_page(studio)
    page.queue(max_size=None, default_concurrency_limit=None)
    try:
        page.launch(
            server_name=host,
            server_port=app.port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            share=False,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            strict_cors=True,
            max_file_size=studio.configuration.mesh.max_file_bytes,
            auth=(app.username, app.password) if app.username else None,
            theme=_theme(),
            css_paths=[STYLE],
            head=viewer_head(),
            footer_links=["api"],
            app_kwargs={"routes": build_routes(studio, control_token)},
        )
    except OSError as err:
        raise ConfigError(
            f"Port {app.port} on {host} cannot be used. Stop what uses it, or choose another with "
            "--port."
        ) from err
    write_entry(studio.workspace.root, address_of(host, page.server_port), control_token)
    logger.info("Partwise is ready: %s", page.local_url)
    if block:
        page.block_thread()
    return page


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
    )
