"""A program's request as a task: the mesh written to disk as it arrives, the options checked.

A body is read no further than its limit. Everything wrong with it is an `AppError` that says what
was found; whether the mesh itself is sound, the job finds out.
"""

import math
import shutil
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from partwise.core.errors import AppError, ConfigError, MeshError
from partwise.geometric.complete import CompletionSettings
from partwise.geometry.aabb_file import MAX_BYTES
from partwise.geometry.limits import MEGABYTE, Refusal, extension_of
from studio.asked import GenerateChoice, read_part_ids
from studio.catalog import AUTO, GENERATE, Engines
from studio.configuration import DEFAULT_QUALITY, Configuration
from studio.mesh_jobs import MeshTask
from studio.print_size import read_printing
from studio.segment import P3SamChoice, SegmentOptions, choose_engine, options_for

OPTIONS = (
    "preset",
    "parts",
    "detail",
    "seed",
    "engine",
    "points",
    "prompts",
    "prompt_batch",
    "precision",
    "nearest",
    "merge_small",
)
MAKING = (  # of “generate” alone
    "quality",
    "steps",
    "octree_resolution",
    "decoding",
    "part_ids",
    "plug",
    "clearance",
    "wall",
    "print_size",
    "min_wall",
)
BESIDE = ("labels", "boxes")  # files that may come with the mesh, to “generate”
_LABEL_BYTES = 8  # of one face, at most
_MARGIN_BYTES = 64 * 1024  # for the other fields and what stands between them
_FIELD_BYTES = 4096
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class TooLarge(AppError):
    """The request's body is larger than what is read here."""


@dataclass(frozen=True)
class Upload:
    """Takes a request of one kind of job; its files go to `folder`."""

    job: str
    folder: Path
    configuration: Configuration
    engines: Engines

    async def receive(self, request: Request) -> MeshTask:
        """Read the request; raises `TooLarge`, `MeshError`, `ConfigError`, `WeightsError`."""
        self.check_length(request)
        body = self._limited(request.stream())
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await self._receive_form(request, body)
        return await self._receive_raw(request, body)

    def check_length(self, request: Request) -> None:
        """Raise `TooLarge` for a body that says that it is."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._body_limit:
            raise self._too_large()

    @property
    def _body_limit(self) -> int:
        mesh = self.configuration.mesh
        others = _LABEL_BYTES * mesh.max_faces + MAX_BYTES if self.job == GENERATE else 0
        return mesh.max_file_bytes + others + _MARGIN_BYTES

    def _too_large(self) -> TooLarge:
        limit = self.configuration.mesh.max_file_bytes / MEGABYTE
        return TooLarge(
            f"The file is larger than the limit of {limit:.4g} MB. Simplify the mesh or remove "
            "textures, then send it again."
        )

    async def _limited(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The body, up to its limit: a length that was announced may be a lie, or missing."""
        count = 0
        async for chunk in body:
            count += len(chunk)
            if count > self._body_limit:
                raise self._too_large()
            yield chunk

    async def _receive_raw(self, request: Request, body: AsyncGenerator[bytes, None]) -> MeshTask:
        fields = dict(request.query_params)
        task = await run_in_threadpool(self._task, fields.pop("filename", ""), fields)
        async with await anyio.open_file(task.mesh, "wb") as file:
            async for chunk in body:
                await file.write(chunk)
        await run_in_threadpool(self._check_mesh, task.mesh)
        return task

    async def _receive_form(self, request: Request, body: AsyncGenerator[bytes, None]) -> MeshTask:
        parser = MultiPartParser(
            request.headers, body, max_files=3, max_fields=32, max_part_size=_FIELD_BYTES
        )
        try:
            form = await parser.parse()
        except MultiPartException as err:
            raise ConfigError(f"The form cannot be read: {err.message}") from err
        try:
            return await run_in_threadpool(self._take, form)
        finally:
            await form.close()

    def _take(self, form: FormData) -> MeshTask:
        given = [name for name, _ in form.multi_items()]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"“{twice[:60]}” was sent more than once. Send it once.")
        files = {key: value for key, value in form.items() if isinstance(value, UploadFile)}
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
        mesh = files.pop("mesh", None)
        if mesh is None:
            raise MeshError("No mesh was sent. Send it as the form's file “mesh”.")
        for name in files:
            if self.job != GENERATE or name not in BESIDE:
                raise ConfigError(f"“{name[:60]}” is not a file that belongs to this request.")
        task = self._task(mesh.filename or "", fields, beside=tuple(files))
        _copy(mesh, task.mesh)
        self._check_mesh(task.mesh)
        for name, path in (("labels", task.labels), ("boxes", task.boxes)):
            if path is not None:
                _copy(files[name], path)
        return task

    def _task(
        self, name: str, fields: Mapping[str, str], *, beside: tuple[str, ...] = ()
    ) -> MeshTask:
        """The task, its files not there yet; raises for options that could never run.

        beside: which of `BESIDE` come with the mesh.
        """
        if not name:
            raise MeshError("The mesh has no name. Send one, as ?filename=chair.glb with the body.")
        try:
            extension_of(name)
        except Refusal as err:
            raise err.about(name) from err
        cutting = {key: value for key, value in fields.items() if key not in self._making}
        options = parse_options(self.configuration, cutting, self._making)
        engine, making = fields.get("engine", AUTO), GenerateChoice()
        if self.job == GENERATE:
            making = parse_making(fields)
            making.options(self.configuration)
            self.engines.choose(GENERATE, engine)
        else:
            choose_engine(self.engines, engine, options)
        labels, boxes = (self._new_file() if each in beside else None for each in BESIDE)
        mesh = self._new_file()
        return MeshTask(self.job, mesh, name, options, engine, labels, boxes, making)

    @property
    def _making(self) -> tuple[str, ...]:
        return MAKING if self.job == GENERATE else ()

    def _new_file(self) -> Path:
        return self.folder / f"upload-{uuid.uuid4().hex}"

    def _check_mesh(self, mesh: Path) -> None:
        size = mesh.stat().st_size
        if size > self.configuration.mesh.max_file_bytes:
            raise self._too_large()
        if not size:
            raise MeshError("The mesh is empty (0 bytes). Send the file's content.")


def _copy(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)


def parse_making(fields: Mapping[str, str]) -> GenerateChoice:
    """How to generate, of a request's fields; raises `ConfigError` with the field and its value."""
    return GenerateChoice(
        fields.get("quality") or DEFAULT_QUALITY,
        read_integer(fields, "steps"),
        read_integer(fields, "octree_resolution"),
        read_integer(fields, "seed"),
        fields.get("decoding") or None,
        read_part_ids(fields.get("part_ids", "")),
        CompletionSettings(
            *(read_number(fields, name, 0.0) for name in ("plug", "clearance", "wall"))
        ),
        read_printing(fields.get("print_size", ""), fields.get("min_wall", "")),
    )


def parse_options(
    configuration: Configuration, fields: Mapping[str, str], others: tuple[str, ...] = ()
) -> SegmentOptions:
    """The options of a request's fields; raises `ConfigError` with the field and its value.

    others: what else this kind of request knows, for whoever gave a field that is none.
    """
    for name in fields:
        if name not in OPTIONS:
            known = ", ".join((*OPTIONS, *others))
            raise ConfigError(f"“{name[:60]}” is not an option. Known are: {known}.")
    chosen = P3SamChoice(
        read_integer(fields, "points"),
        read_integer(fields, "prompts"),
        read_integer(fields, "prompt_batch"),
        fields.get("precision") or None,
        is_connected=False if _flag(fields, "nearest") else None,
        is_post_processed=True if _flag(fields, "merge_small") else None,
    )
    return options_for(
        configuration,
        fields.get("preset") or "balanced",
        part_count=read_integer(fields, "parts") or None,
        detail=read_number(fields, "detail", 0.5),
        seed=read_integer(fields, "seed"),
        chosen=chosen,
    )


def read_integer(fields: Mapping[str, str], name: str) -> int | None:
    """A whole number, None where none was given; raises `ConfigError`."""
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 12):
        raise ConfigError(f"{name} is “{text[:60]}”; give a whole number.")
    return int(text)


def read_number(fields: Mapping[str, str], name: str, default: float) -> float:
    """A finite number; raises `ConfigError`."""
    text = fields.get(name, "").strip()
    try:
        value = float(text or default)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{name} is “{text[:60]}”; give a number.")
    return value


def _flag(fields: Mapping[str, str], name: str) -> bool:
    text = fields.get(name, "").strip().lower()
    if text and text not in _YES + _NO:
        raise ConfigError(f"{name} is “{text[:60]}”; give true or false.")
    return text in _YES
