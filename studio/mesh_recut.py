"""A program's request for another cut of a job's parts, and its answer."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from partwise.core.errors import ConfigError
from studio import results
from studio.document import Document
from studio.mesh_upload import TooLarge, read_integer, read_number
from studio.recut import recut

OPTIONS = ("job_id", "parts", "detail")
MAX_BODY_BYTES = 16 * 1024


@dataclass(frozen=True)
class RecutRequest:
    """Which job's parts to cut again, into how many or for which detail."""

    job_id: str
    part_count: int | None
    detail: float | None


async def receive_recut(request: Request) -> RecutRequest:
    """Read a request: JSON, a form or the query; raises `TooLarge`, `ConfigError`."""
    fields = {**dict(request.query_params), **await _body_fields(request)}
    for name in fields:
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise ConfigError(f"“{name[:60]}” is not an option. Known are: {known}.")
    if not fields.get("job_id"):
        raise ConfigError("No job was named. Send the job_id of a segmentation.")
    detail = read_number(fields, "detail", 0.5) if fields.get("detail", "").strip() else None
    return RecutRequest(fields["job_id"], read_integer(fields, "parts"), detail)


async def _body_fields(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        parser = MultiPartParser(
            request.headers, _limited(request), max_files=0, max_fields=8, max_part_size=1024
        )
        try:
            form = await parser.parse()
        except MultiPartException as err:
            raise ConfigError(f"The form cannot be read: {err.message}") from err
        return {key: str(value) for key, value in form.items()}
    body = b"".join([chunk async for chunk in _limited(request)])
    if kind == "application/json" and body:
        return _json_fields(body)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > MAX_BODY_BYTES:
            raise TooLarge(f"The request is larger than {MAX_BODY_BYTES} bytes. Send no mesh here.")
        yield chunk


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise ConfigError("The body is not readable JSON. Send an object.") from err
    if not isinstance(found, dict):
        raise ConfigError(f"The body is JSON of {type(found).__name__}. Send an object.")
    given = {key: value for key, value in found.items() if value is not None}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"“{key[:60]}” is neither a number nor a text.")
    return {key: str(value) for key, value in given.items()}


def answer_recut(document: Document, wanted: RecutRequest) -> Mapping[str, Any]:
    """Cut the document's tree and tell the new parts; raises `AppError` when it cannot."""
    with document.lock:
        recut(document, wanted.part_count, detail=wanted.detail)
        tree = document.tree
        report = results.report(document, results.PARTS)
        ids = results.file_face_ids(document, results.PARTS).tolist()
    limits = {} if tree is None else {"least": tree.least, "most": tree.most}
    return {**limits, "parts": report["parts"], "recut_to": report["recut_to"], "face_ids": ids}
