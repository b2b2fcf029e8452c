"""The built-in engine's seconds and memory by mesh size as Markdown, from a result file."""

from benchmarks.common import Payload

_HEAD = (
    "| {machine} | faces | parts | segmentation | completion | peak memory |\n"
    "|---|---|---|---|---|---|\n"
)


def table(payload: Payload) -> str:
    """A row for each mesh."""
    return _HEAD.format(**payload) + "".join(_row(row) for row in payload["geometric"])


def _row(row: Payload) -> str:
    cells = (
        row["shape"],
        f"{row['faces']:,}".replace(",", " "),
        str(row["parts"]),
        f"{row['segment_s']:.1f} s",
        f"{row['complete_s']:.1f} s",
        f"{row['peak_mib'] / 1024:.2f} GiB",
    )
    return "| " + " | ".join(cells) + " |\n"
