"""Who can reach the server, and what strangers may not do there. Free of gradio."""

import ipaddress
import os
from collections.abc import Mapping

from studio.configuration import Configuration

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def host_of(configuration: Configuration) -> str:
    """The address to listen on; a Space names it in gradio's own variable."""
    is_chosen = configuration.sources["app.host"] not in ("default", "app.yaml")
    host = configuration.app.host
    return host if is_chosen else os.environ.get("GRADIO_SERVER_NAME", host)


def may_change_server(configuration: Configuration, headers: Mapping[str, str]) -> bool:
    """Whether a visitor may fill the server's disk: the person at it, or whoever has its login.

    headers: of the visitor's request, names in lower case; a proxy on this machine brings visitors
    from elsewhere to a server that listens on loopback alone, and says so there.
    """
    if configuration.app.username:
        return True
    return is_loopback(host_of(configuration)) and not any(name in headers for name in _FORWARDED)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
