"""What is asked of the hub of published models: a file's facts, and its bytes from an offset.

Over huggingface_hub's public parts, so that its endpoint, token, proxy and offline settings hold.
Its own `hf_hub_download` is not used: it starts an interrupted file anew and cannot be cancelled
while a server is silent. Every failure becomes a `WeightsError` that says what to do.
"""

import contextlib
import queue
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    constants,
    errors,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
    is_offline_mode,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from partwise.core.errors import WeightsError
from partwise.core.progress import CancelToken

T = TypeVar("T")

_POLL_S = 0.1
_WAITING_ITEMS = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-")


class Interrupted(WeightsError):
    """The transfer stopped half-way; what has arrived is good, and it can go on from there."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at one commit, and what the hub says of it; `size` in bytes."""

    repository: str
    name: str
    commit: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Hub:
    """The hub at `endpoint`; None: the one of HF_ENDPOINT, else huggingface.co."""

    endpoint: str | None = None

    @property
    def host(self) -> str:
        """Its name for people."""
        address = self.endpoint or constants.ENDPOINT
        return urlsplit(address).netloc or address

    def find_file(self, repository: str, name: str, revision: str, cancel: CancelToken) -> HubFile:
        """The file at a branch, tag or commit; raises `WeightsError`, `Cancelled`."""
        url = self._url(repository, name, revision)

        def ask() -> Iterator[HubFile]:
            facts = get_hf_file_metadata(
                url, timeout=constants.HF_HUB_ETAG_TIMEOUT, endpoint=self.endpoint
            )
            if facts.commit_hash is None or facts.size is None or facts.etag is None:
                raise WeightsError(
                    f"{self.host} does not answer as a hub does: commit, size or checksum of "
                    f"{name} is missing. Check HF_ENDPOINT and the proxy."
                )
            if not _SHA256.fullmatch(facts.etag):
                raise WeightsError(
                    f"{self.host} names no SHA-256 of {name}, so a download could not be checked. "
                    "Check HF_ENDPOINT, or copy the file yourself."
                )
            yield HubFile(repository, name, facts.commit_hash, facts.etag, facts.size)

        with self._explained(repository, name, revision):
            return next(_in_background(ask, cancel))

    def stream(
        self, file: HubFile, offset: int, cancel: CancelToken
    ) -> Iterator[tuple[int, bytes]]:
        """The file's bytes from `offset`, each piece with its place in the file.

        A server that cannot continue starts again at 0. Raises `Interrupted` when the connection
        ends too early, `WeightsError`, `Cancelled`.
        """

        def receive() -> Iterator[tuple[int, bytes]]:
            headers = build_hf_headers() | {"Accept-Encoding": "identity"}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            url = self._url(file.repository, file.name, file.commit)
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                hf_raise_for_status(response)
                place = _first_place(response)
                for piece in response.iter_raw():
                    yield place, piece
                    place += len(piece)
            if place < file.size:
                raise httpx2.RemoteProtocolError("the connection was closed")

        has_begun = False
        with self._explained(file.repository, file.name, file.commit):
            try:
                for piece in _in_background(receive, cancel):
                    has_begun = True
                    yield piece
            except httpx2.TransportError as err:
                if not has_begun and not offset:
                    raise
                raise Interrupted(
                    f"The transfer of {file.name} from {self.host} was interrupted "
                    f"({_reason(err)}). What has arrived is kept: fetch again, and it continues."
                ) from err

    def _url(self, repository: str, name: str, revision: str) -> str:
        return hf_hub_url(repository, name, revision=revision, endpoint=self.endpoint)

    @contextlib.contextmanager
    def _explained(self, repository: str, name: str, revision: str) -> Iterator[None]:
        """Turn the client's errors into sentences for the person."""
        place = f"{repository} on {self.host}"
        _check_client()
        try:
            yield
        except errors.OfflineModeIsEnabled as err:
            raise offline_error(name) from err
        except errors.GatedRepoError as err:
            raise WeightsError(
                f"{place} is gated: its conditions must be accepted first. Open its page there, "
                "accept them with your account, set HF_TOKEN to a token of that account and fetch "
                "again."
            ) from err
        except errors.RepositoryNotFoundError as err:
            raise WeightsError(
                f"There is no repository {place}, or it is private. Check HF_ENDPOINT and, for a "
                "private one, HF_TOKEN."
            ) from err
        except errors.RevisionNotFoundError as err:
            raise WeightsError(
                f"{place} has no revision “{revision}”. Check --revision or weights_revision."
            ) from err
        except errors.EntryNotFoundError as err:
            raise WeightsError(
                f"{place} has no file {name} at revision “{revision}”. Name another revision."
            ) from err
        except errors.HfHubHTTPError as err:
            raise WeightsError(f"{place} refused {name}: {_status_words(err)}") from err
        except (httpx2.HTTPError, httpx2.InvalidURL) as err:
            raise WeightsError(
                f"{self.host} cannot be reached ({_reason(err)}). Check the connection, the proxy "
                "and HF_ENDPOINT, and fetch again."
            ) from err


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids all requests."""
    return is_offline_mode()


def offline_error(name: str) -> WeightsError:
    """What to say when a download is asked for while HF_HUB_OFFLINE is set."""
    return WeightsError(
        f"{name} was not downloaded: HF_HUB_OFFLINE is set, so Partwise stays offline. Unset it, "
        "or copy the file into the weights folder yourself."
    )


def _check_client() -> None:
    """Raise `WeightsError` when no client can be made with what the environment says."""
    try:
        get_session()
    except ImportError as err:
        raise WeightsError(
            "A SOCKS proxy is set (all_proxy or https_proxy), and the package that it needs is "
            "not installed. Run “.venv/bin/pip install socksio”, or name an http:// proxy."
        ) from err
    except (OSError, ValueError) as err:
        raise WeightsError(
            f"The proxy or the certificates that are set cannot be used ({_reason(err)}). Check "
            "https_proxy and all_proxy, which begin with http:// or socks5://, and SSL_CERT_FILE."
        ) from err


def _first_place(response: httpx2.Response) -> int:
    """Where in the file the body of an answer begins."""
    if response.status_code != httpx2.codes.PARTIAL_CONTENT:
        return 0
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if found is None:
        raise httpx2.RemoteProtocolError("a part of the file came without its place")
    return int(found[1])


def _status_words(error: errors.HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == httpx2.codes.UNAUTHORIZED:
        return "the token is not valid (401). Renew or unset HF_TOKEN and fetch again."
    if status == httpx2.codes.FORBIDDEN:
        return "access is forbidden (403). Check what the token of HF_TOKEN may read."
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        return "too many requests (429). Wait some minutes and fetch again."
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return f"the server has a fault of its own ({status}). Fetch again later."
    return f"status {status}. Check HF_ENDPOINT and the proxy."


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n")[0][:120]
    return text or type(error).__name__


def _in_background(produce: Callable[[], Iterator[T]], cancel: CancelToken) -> Iterator[T]:
    """What `produce` yields, from a thread of its own; raises what it raises, or `Cancelled`.

    A silent server would hold the caller until its timeout. The thread is left behind instead: it
    ends with its next item or its timeout, touches no file, and what it still brings is dropped.
    """
    arrived: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(_WAITING_ITEMS)
    is_left = threading.Event()

    def put(item: T | None, end: BaseException | None) -> None:
        while not is_left.is_set():
            with contextlib.suppress(queue.Full):
                arrived.put((item, end), timeout=_POLL_S)
                return

    def run() -> None:
        try:
            for item in produce():
                put(item, None)
                if is_left.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # raised again where the items are taken
            put(None, error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    try:
        while True:
            cancel.raise_if_cancelled()
            try:
                item, end = arrived.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]
    finally:
        is_left.set()
