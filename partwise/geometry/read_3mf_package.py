"""The zip around a 3MF file: its directory checked before anything is unpacked, parts in memory."""

import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, NoReturn
from xml.parsers import expat

from partwise.geometry.limits import MEGABYTE, MeshLimits, Refusal, external_reference

_MAX_ENTRIES = 5000
_MAX_DIRECTORY_BYTES = 4 * MEGABYTE
_MAX_RELATIONS_BYTES = MEGABYTE
_MAX_RATIO = 200
_RATIO_MATTERS_FROM = 8 * MEGABYTE
_UNPACKED_PER_FILE_LIMIT = 5
_CHUNK_BYTES = 2**18
_END_RECORD = b"PK\x05\x06"
_END_BYTES = 22
_LONGEST_COMMENT = 65535
_MODEL_KIND = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_DAMAGED = "is a damaged zip archive (cut off, or its content does not fit its directory)"


class Package:
    """An open 3MF archive; use it in a `with`. Nothing is written to disk."""

    def __init__(self, path: Path, limits: MeshLimits) -> None:
        _check_directory_size(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as err:
            raise Refusal(_DAMAGED) from err
        self._entries = {part_name(info.filename): info for info in self._zip.infolist()}
        try:
            self._check_entries(limits)
        except Refusal:
            self._zip.close()
            raise

    def __enter__(self) -> "Package":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def __contains__(self, part: str) -> bool:
        return part_name(part) in self._entries

    def model_part(self) -> str:
        """The name of the part that holds the scene; refuses relations to outside of the file."""
        start = None
        for name, info in self._entries.items():
            if name.endswith(".rels"):
                if info.file_size > _MAX_RELATIONS_BYTES:
                    raise Refusal("has a list of relations that is too large (it is damaged)")
                found = self._start_part(name)
                start = found if name == "_rels/.rels" else start
        start = part_name(start or "3D/3dmodel.model")
        if start not in self:
            raise Refusal("is a zip archive without a 3D model", "Export it as 3mf again.")
        return start

    def feed(self, part: str, parser: "expat.XMLParserType") -> None:
        """Unpack a part piece by piece into an XML parser."""
        try:
            with self._open(part) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    parser.Parse(chunk, False)
            parser.Parse(b"", True)
        except expat.ExpatError as err:
            raise Refusal(f"has XML that cannot be read ({expat.ErrorString(err.code)})") from err
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error) as err:
            raise Refusal(_DAMAGED) from err
        except (NotImplementedError, RuntimeError) as err:  # zipfile's words for these two
            raise Refusal(
                "is encrypted or packed in an unusual way", "Save it as plain 3mf."
            ) from err

    def _open(self, part: str) -> IO[bytes]:
        return self._zip.open(self._entries[part_name(part)])

    def _check_entries(self, limits: MeshLimits) -> None:
        unpacked_limit = _UNPACKED_PER_FILE_LIMIT * limits.max_file_bytes
        total = 0
        for info in self._entries.values():
            total += info.file_size
            ratio = info.file_size / max(info.compress_size, 1)
            is_bomb = ratio > _MAX_RATIO and info.file_size > _RATIO_MATTERS_FROM
            if is_bomb or total > unpacked_limit:
                raise Refusal(
                    f"unpacks to {total // MEGABYTE:,} MB or more, which is not safe",
                    "Simplify the mesh and export it again.",
                )

    def _start_part(self, relations: str) -> str | None:
        found: list[str] = []

        def note(name: str, attributes: dict[str, str]) -> None:
            if not name.endswith("Relationship"):
                return
            target = attributes.get("Target", "")
            if attributes.get("TargetMode", "").lower() == "external":
                raise external_reference(target, "something")
            if attributes.get("Type") == _MODEL_KIND:
                found.append(target)

        parser = safe_parser()
        parser.StartElementHandler = note
        self.feed(relations, parser)
        return found[0] if found else None


def safe_parser() -> "expat.XMLParserType":
    """An XML parser that refuses document types, and with them all entities."""
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> NoReturn:
        raise Refusal("has XML with a document type or entities, which are never expanded")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    return parser


def part_name(name: str) -> str:
    """A part's name as all places spell it: relative, with forward slashes."""
    return str(PurePosixPath(name.replace("\\", "/").lstrip("/")))


def _check_directory_size(path: Path) -> None:
    """Refuse a directory so long that listing it would cost time and memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT))
        tail = file.read()
        at = tail.rfind(_END_RECORD)
        if at < 0 or len(tail) - at < _END_BYTES:
            raise Refusal(_DAMAGED)
        entries, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
        if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
            (offset,) = struct.unpack_from("<Q", tail, at - 12)
            if offset > size - 56:
                raise Refusal(_DAMAGED)
            file.seek(offset)
            entries, directory_bytes = struct.unpack_from("<QQ", file.read(56), 32)
    if entries > _MAX_ENTRIES or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise Refusal(f"is an archive of {entries:,} files, which is more than a 3MF file needs")
