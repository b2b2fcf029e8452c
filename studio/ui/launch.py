"""Serve the page: what is set for gradio, and the routes beside it."""

import logging
import secrets
import webbrowser

import gradio as gr

from partwise.core.errors import ConfigError
from studio.access import address_of, check_address, host_of
from studio.gradio_environment import set_gradio_environment, without_proxy
from studio.http import build_routes
from studio.servers import write_entry
from studio.ui.layout import STYLE, build_page
from studio.ui.viewer import viewer_head
from studio.workflow import Studio

logger = logging.getLogger(__name__)


def launch_page(studio: Studio, *, open_browser: bool = False, block: bool = True) -> gr.Blocks:
    """Build and serve the page; with `block`, return only when it is stopped.

    Raises `ConfigError` when the page cannot be served.
    """
    app = studio.configuration.app
    host = host_of(studio.configuration)
    check_address(host, app.port)
    set_gradio_environment(studio.workspace.uploads)
    control_token = secrets.token_urlsafe()
    page = build_page(studio)
    page.queue(max_size=None, default_concurrency_limit=None)
    try:
        with without_proxy():
            _launch(page, studio, host, control_token)
    except Exception as err:  # of many kinds, bare ones too; each is a start that failed
        page.close(verbose=False)
        raise ConfigError(_why_not_launched(err, address_of(host, app.port))) from err
    address = address_of(host, page.server_port)
    write_entry(studio.workspace.root, address, control_token)
    logger.info("Partwise is ready: %s", address)
    if open_browser:
        webbrowser.open(address)
    if block:
        page.block_thread()
    return page


def _launch(page: gr.Blocks, studio: Studio, host: str, control_token: str) -> None:
    app = studio.configuration.app
    page.launch(
        server_name=f"[{host.strip('[]')}]" if ":" in host else host,
        server_port=app.port,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        share=False,
        ssr_mode=False,
        ssl_verify=False,  # gradio asks its own server by plain http; reads no certificates
        _frontend=False,  # no second request of that kind, which a slow machine answers too late
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


def _why_not_launched(error: Exception, address: str) -> str:
    """What to tell the person of an error of gradio's launch; the address itself was free."""
    if isinstance(error, OSError):
        return (
            f"The server did not begin to listen at {address} within 5 s. This machine may be too "
            "busy, or another program took the port just now. Start Partwise again, or choose "
            "another port with --port."
        )
    reason = str(error).strip() or type(error).__name__
    return f"The page could not be started at {address}: {reason}. Start Partwise again."


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
    )
