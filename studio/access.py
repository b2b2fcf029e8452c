"""Who can reach the server, and what strangers may not do there. Free of gradio."""

import errno
import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from partwise.core.errors import ConfigError
from studio.configuration import Configuration

_FORWARDED = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True)
class Denial:
    """Why a request is not answered: the HTTP status, and a sentence with what to do."""

    status: int
    sentence: str


_OTHER_SITE = Denial(
    403, "This request comes from a page of another website. Programs send no Origin header."
)
_NEEDS_TOKEN = Denial(
    401, "This needs the server's token. Send it as the header “Authorization: Bearer TOKEN”."
)
_NO_TOKEN_SET = Denial(
    403,
    "Only programs on the server's own machine may ask this, by its address there, as no token is "
    "set. Set app.api_token (environment: PARTWISE_APP_API_TOKEN) on the server, and send it as "
    "the header “Authorization: Bearer TOKEN”.",
)


def host_of(configuration: Configuration) -> str:
    """The address to listen on; a Space names it in gradio's own variable."""
    is_chosen = configuration.sources["app.host"] not in ("default", "app.yaml")
    host = configuration.app.host
    return host if is_chosen else os.environ.get("GRADIO_SERVER_NAME", host)


def address_of(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on `host`."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(host, host)
    bare = name.strip("[]")
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


def check_address(host: str, port: int) -> None:
    """Raise `ConfigError` when no server can listen there."""
    problem = _why_not_bound(host, port)
    if problem is None:
        return
    if isinstance(problem, socket.gaierror) or problem.errno in _NOT_HERE:
        raise ConfigError(
            f"{host} is not an address of this machine. Choose another with --host: 127.0.0.1 is "
            "for this machine alone, 0.0.0.0 for everybody who reaches it."
        ) from problem
    raise ConfigError(
        f"Port {port} on {host} cannot be used ({problem.strerror}). Stop what uses it, or choose "
        "another with --port."
    ) from problem


def _why_not_bound(host: str, port: int) -> OSError | None:
    """The system's objection to a server there; a name may have addresses that are not in use."""
    bare = host.strip("[]") or None
    problem: OSError | None = None
    try:
        places = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as err:
        return err
    for family, kind, _, _, place in places:
        try:
            with socket.socket(family, kind) as listener:
                if os.name == "posix":  # a port whose last server has just ended is free
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(place)
            return None
        except OSError as err:
            if err.errno not in _NOT_HERE:
                return err
            problem = err
    return problem


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


def api_denial(
    configuration: Configuration, client: str, headers: Mapping[str, str], control_token: str = ""
) -> Denial | None:
    """Why a program may not use the HTTP routes for programs; None when it may.

    With a token set, whoever sends it may. Without one only programs of this machine may, and only
    where the page has no login and listens on loopback alone. client: the address that the request
    came from; headers: names in lower case; control_token: also opens, empty = there is none.
    """
    if _is_from_other_site(headers):
        return _OTHER_SITE
    given = headers.get("authorization", "")
    token = configuration.app.api_token
    if any(_is_bearer(given, known) for known in (token, control_token)):
        return None
    if token:
        return _NEEDS_TOKEN
    is_open = (
        not configuration.app.username
        and may_change_server(configuration, headers)
        and is_loopback(client)
        and is_loopback(_name_in(headers.get("host", "")))
    )
    return None if is_open else _NO_TOKEN_SET


def _is_bearer(given: str, token: str) -> bool:
    kind, _, sent = given.partition(" ")
    is_right = hmac.compare_digest(sent.strip().encode(), token.encode())
    return bool(token) and kind.lower() == "bearer" and is_right


def _is_from_other_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page from elsewhere made the request."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    place = _place_in(origin)
    return place is None or place != _place_in(f"http://{headers.get('host', '')}")


def _place_in(origin: str) -> tuple[str, int | None] | None:
    """The name and port of an origin; the scheme may differ, as a proxy may end the encryption."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.hostname, None if port in (80, 443) else port


def _name_in(host: str) -> str:
    """The name in a Host header, empty when it is none.

    A browser that was led here under a stranger's name (DNS rebinding) sends that name.
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
