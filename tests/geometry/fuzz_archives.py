"""The bad 3MF files of the corpus."""

import io
import struct
import zipfile

from tests.geometry.mesh_files import MODEL_KIND, mesh_xml, model_xml, threemf


def bad_archives() -> dict[str, bytes]:
    """3MF files that are no archive, a trap for the unpacker, or hold a bad model."""
    return _bad_packages() | _bad_models()


def _bad_packages() -> dict[str, bytes]:
    good = threemf()
    laughs = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    outside = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    relation = '<Relationship Target="{}" TargetMode="External" Id="r" Type="x"/>'
    return {
        "prose.3mf": b"This is not an archive at all.",
        "no-model.3mf": _zip({"readme.txt": b"hello"}),
        "bomb.3mf": threemf(b"<model>" + b" " * 60_000_000),
        "bomb-beside.3mf": threemf(bomb=bytes(60_000_000)),
        "lying-size.3mf": _with_smaller_size(good),
        "encrypted.3mf": _with_flag(good, 1),
        "60000-files.3mf": _with_entry_count(good, 60_000),
        "broken-deflate.3mf": good[:60] + b"\xff" * 40 + good[100:],
        "laughs.3mf": threemf(model_xml(head=laughs)),
        "outside-entity.3mf": threemf(model_xml(head=outside)),
        "http-relation.3mf": threemf(relations=relation.format("http://127.0.0.1:9/a")),
        "file-relation.3mf": threemf(relations=relation.format("file:///etc/passwd")),
        "parent-relation.3mf": threemf(
            relations=f'<Relationship Target="../../a.model" Id="r" Type="{MODEL_KIND}"/>'
        ),
    }


def _bad_models() -> dict[str, bytes]:
    box = f'<object id="1">{mesh_xml()}</object>'
    doubling = "".join(
        f'<object id="{i}"><components>{f"""<component objectid="{i - 1}"/>""" * 2}'
        "</components></object>"
        for i in range(2, 42)
    )
    cycle = "".join(
        f'<object id="{a}"><components><component objectid="{b}"/></components></object>'
        for a, b in ((1, 2), (2, 1))
    )
    return {
        "cycle.3mf": threemf(model_xml(cycle)),
        "doubling.3mf": threemf(model_xml(box + doubling, '<item objectid="41"/>')),
        "missing-object.3mf": threemf(model_xml(build='<item objectid="77"/>')),
        "nothing-built.3mf": threemf(model_xml(build="")),
        "deep.3mf": threemf("<a>" * 100_000),
        "cut-xml.3mf": threemf(model_xml()[:-40]),
        "short-transform.3mf": threemf(model_xml(build='<item objectid="1" transform="1 0 0"/>')),
        "unheard-unit.3mf": threemf(model_xml().replace("inch", "cubit")),
        "no-corner.3mf": threemf(model_xml().replace('v3="', 'w3="')),
        "words.3mf": threemf(model_xml().replace('x="1.0"', 'x="one"')),
    }


def _zip(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def _with_smaller_size(archive: bytes) -> bytes:
    """The last entry's unpacked size in the directory made smaller than it is."""
    at = archive.rindex(b"PK\x01\x02")
    return archive[: at + 24] + struct.pack("<I", 100) + archive[at + 28 :]


def _with_flag(archive: bytes, flag: int) -> bytes:
    """A flag set on all entries of the directory and before their data."""
    data = bytearray(archive)
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := archive.find(magic, at + 1)) >= 0:
            data[at + offset] |= flag
    return bytes(data)


def _with_entry_count(archive: bytes, count: int) -> bytes:
    at = archive.rindex(b"PK\x05\x06")
    return archive[: at + 8] + struct.pack("<HH", count, count) + archive[at + 12 :]
