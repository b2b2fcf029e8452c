"""A result's file as an HTTP answer, safe to open in a browser."""

from starlette.responses import Response

_MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "3mf": "model/3mf",
    "zip": "application/zip",
    "json": "application/json",
    "npy": "application/octet-stream",
}
_SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}


def file_response(content: bytes, name: str, *, is_download: bool = True) -> Response:
    """The bytes of a file; with `is_download` a browser saves it. `name` is one of ours."""
    headers = dict(_SAFE)
    if is_download:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(content, media_type=_MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)
