"""What is refused before parsing: too many bytes, content unlike the extension, lying counts,
references to other files. Reads only the first bytes of a file; knows no format's details.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from partwise.core.errors import MeshError

MEGABYTE = 2**20
LARGEST_COORDINATE = 1e15  # beyond it areas and volumes leave the range of the numbers in use
HEAD_BYTES = 4096
EXTENSIONS = ("glb", "gltf", "obj", "ply", "stl", "off", "3mf")
_SHOWN_NAME_LENGTH = 60
_FORMAT_LIST = "glb, gltf, obj, ply, stl, off or 3mf"

# First bytes of files, and what the person calls them. Our own formats come by their extension.
_MAGIC = (
    (b"glTF", "glb"),
    (b"PK\x03\x04", "3mf"),
    (b"PK\x05\x06", "3mf"),
    (b"ply\n", "ply"),
    (b"ply\r", "ply"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BLENDER", "a Blender file"),
    (b"Kaydara FBX", "an FBX file"),
    (b"ISO-10303-21", "a STEP file"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"\x7fELF", "a program"),
)
_TEXT_MAGIC = (
    (re.compile(rb"\s*\{"), "gltf"),
    (re.compile(rb"\s*(#[^\n]*\n\s*)*(ST)?C?N?4?n?OFF\b"), "off"),
    (re.compile(rb"\s*solid\b[^\n]*\n\s*facet\b"), "stl"),
    (re.compile(rb"\s*<(!doctype\s+html|html)", re.IGNORECASE), "a web page"),
    (re.compile(rb"\s*<"), "an XML file"),
)
_LINKS_OUTSIDE = re.compile(
    r"^\s*([a-z][a-z0-9+.-]*:|[/\\~])|(^|[/\\])\.\.([/\\]|$)", re.IGNORECASE
)


@dataclass(frozen=True)
class MeshLimits:
    """What an uploaded mesh may have, and what reading it may use."""

    max_file_bytes: int = 100 * MEGABYTE
    max_faces: int = 2_000_000
    max_vertices: int = 4_000_000
    max_nodes: int = 10_000
    max_images: int = 256
    parse_timeout_s: float = 60.0
    parse_memory_bytes: int = 4 * 2**30


class Refusal(MeshError):
    """Why a file is refused, as the sentence's end after the file's name, and what to do.

    `load_mesh` and `parse_mesh` put the name in front.
    """

    def __init__(self, found: str, remedy: str = "Export it again and load the new file.") -> None:
        super().__init__(f"The file {found}. {remedy}")
        self.found = found
        self.remedy = remedy

    def about(self, name: str) -> MeshError:
        """The same refusal with the file's name in it."""
        return MeshError(f"{shown_name(name)} {self.found}. {self.remedy}")


def clean_name(name: str) -> str:
    """The upload's name without folders and control characters; any script is kept."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    kept = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip()
    return kept if kept.strip(".") else "mesh"


def shown_name(name: str) -> str:
    """`clean_name`, shortened in the middle to fit in a message."""
    name = clean_name(name)
    if len(name) <= _SHOWN_NAME_LENGTH:
        return name
    return f"{name[: _SHOWN_NAME_LENGTH - 21]}…{name[-20:]}"


def extension_of(name: str) -> str:
    """The lower-case extension without its dot; `Refusal` when it is none of ours."""
    extension = Path(clean_name(name)).suffix.lower().removeprefix(".")
    if extension in EXTENSIONS:
        return extension
    if not extension:
        raise Refusal("has no extension that tells its format", f"Save it as {_FORMAT_LIST}.")
    raise Refusal(
        f"is of a kind that is not read here (.{shown_name(extension)})",
        f"Export it as {_FORMAT_LIST}.",
    )


def check_size(path: Path, limits: MeshLimits) -> int:
    """Return the file's bytes; refuse an empty, missing or too large file."""
    if not path.is_file():
        raise Refusal("is not a file that can be opened", "Upload it again.")
    size = path.stat().st_size
    if size == 0:
        raise Refusal("is empty (0 bytes)")
    if size > limits.max_file_bytes:
        raise Refusal(
            f"has {_megabytes(size)} MB; the limit is {_megabytes(limits.max_file_bytes)} MB",
            "Simplify the mesh or remove textures, then load it again.",
        )
    return size


def check_content(head: bytes, extension: str) -> None:
    """Refuse a file whose first bytes belong to something else than its extension."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if not head.strip(b"\0 \r\n\t"):
        raise Refusal("holds nothing but blanks or zero bytes")
    kind = _kind_of(head)
    if kind == extension or (kind is None and _may_be(head, extension)):
        return
    if kind == "3mf":
        kind = "a zip archive"
    if kind is None:
        raise Refusal(
            f"is named .{extension} but its content is not {extension} data",
            f"It may be damaged. Export it again as {_FORMAT_LIST}.",
        )
    content = f"{kind} data" if kind in EXTENSIONS else kind
    remedy = f"Rename it to .{kind}." if kind in EXTENSIONS else f"Export it as {_FORMAT_LIST}."
    raise Refusal(f"is named .{extension} but holds {content}", remedy)


def _kind_of(head: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    for pattern, kind in _TEXT_MAGIC:
        if pattern.match(head):
            return kind
    return None


def _may_be(head: bytes, extension: str) -> bool:
    if extension == "stl":
        return True  # binary STL starts with 80 bytes of anything
    return extension == "obj" and b"\0" not in head


def check_faces(count: int, limits: MeshLimits) -> None:
    """Refuse more triangles than the limit, and none at all."""
    if count <= 0:
        raise Refusal("has no faces", "Export it as a triangle mesh and load it again.")
    if count > limits.max_faces:
        raise Refusal(
            f"has {count:,} faces; the limit is {limits.max_faces:,}",
            "Simplify the mesh and load it again.",
        )


def check_vertices(count: int, limits: MeshLimits) -> None:
    """Refuse more vertices than the limit."""
    if count > limits.max_vertices:
        raise Refusal(
            f"has {count:,} vertices; the limit is {limits.max_vertices:,}",
            "Simplify the mesh and load it again.",
        )


def check_nodes(count: int, limits: MeshLimits) -> None:
    """Refuse more scene nodes than the limit."""
    if count > limits.max_nodes:
        raise Refusal(
            f"has more than {limits.max_nodes:,} scene nodes",
            "Join objects that belong together and export it again.",
        )


def check_fits(what: str, count: int, bytes_each: int, available_bytes: int) -> None:
    """Refuse a count that the bytes at hand cannot hold."""
    if count < 0 or count * bytes_each > available_bytes:
        raise Refusal(
            f"announces {count:,} {what} but ends long before (it is cut off or damaged)"
            if count >= 0
            else f"announces a negative number of {what}"
        )


def check_reference(reference: str, what: str) -> None:
    """Refuse a reference that leads out of the file's own folder: a URL, an absolute path, `..`."""
    if _LINKS_OUTSIDE.search(reference):
        raise external_reference(reference, what)


def external_reference(reference: str, what: str) -> Refusal:
    """The refusal of a file that wants another one to be opened."""
    return Refusal(
        f"refers to {what} outside of it (“{shown_reference(reference)}”), which is never opened",
        "Export it as one self-contained file, best as glb.",
    )


def shown_reference(reference: str) -> str:
    """A reference as it may stand in a message: printable and short."""
    printable = "".join(c if c.isprintable() else "?" for c in reference[:81])
    return printable if len(printable) <= 80 else f"{printable[:79]}…"


def counted(count: int, singular: str, plural: str) -> str:
    """A count with its noun, as it stands in a sentence."""
    return f"1 {singular}" if count == 1 else f"{count:,} {plural}"


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:.1f}".removesuffix(".0")
