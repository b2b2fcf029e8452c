"""What a program asks of Generate beside its mesh: which parts, boxes, settings. Checked here."""

from dataclasses import dataclass, field
from pathlib import Path

from partwise.core.errors import AppError, ConfigError
from partwise.geometric.complete import CompletionSettings
from partwise.geometry.aabb_file import read_aabbs
from studio import boxes
from studio.configuration import DEFAULT_QUALITY, Configuration
from studio.document import Document
from studio.generate import GenerateOptions, GenerateRequest, check_lengths, options_for
from studio.print_size import Printing

MAX_LIST = 10_000  # characters of a list of parts


@dataclass(frozen=True)
class GenerateChoice:
    """A program's settings; None leaves the quality's own. part_ids: None = all parts.

    geometric: in units of the mesh.
    """

    quality: str = DEFAULT_QUALITY
    steps: int | None = None
    octree_resolution: int | None = None
    seed: int | None = None
    decoding: str | None = None
    part_ids: tuple[int, ...] | None = None
    geometric: CompletionSettings = field(default_factory=CompletionSettings)
    printing: Printing = field(default_factory=Printing)

    def options(self, configuration: Configuration) -> GenerateOptions:
        """The settings of a run; raises `ConfigError` when out of range."""
        check_lengths(self.geometric)
        return options_for(
            configuration,
            self.quality,
            steps=self.steps,
            octree_resolution=self.octree_resolution,
            seed=self.seed,
            decoding=self.decoding,
            geometric=self.geometric,
        )


def read_part_ids(text: str) -> tuple[int, ...] | None:
    """The parts in “0,2,5”; None for an empty text. Raises `ConfigError` for anything else."""
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    if len(text) > MAX_LIST or not all(_is_id(item) for item in items):
        raise ConfigError(
            f"The parts to generate are “{text[:60]}”; give their numbers, such as 0,2,5."
        )
    return tuple(dict.fromkeys(int(item) for item in items)) or None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def set_boxes(document: Document, path: Path, name: str) -> str:
    """Take a file's boxes; returns in words what became of them.

    Without parts each box becomes one. With parts the boxes must be theirs by number; else raises
    `ConfigError`, as one of the two given files is not meant.
    """
    found = read_aabbs(path, name=name)
    if document.parts is None:
        parts, run, taken = boxes.cut_by_file(document.source, found, name)
        document.set_segmentation(parts, run)
        return taken.message
    if not boxes.are_of_the_parts(document.parts, found):
        raise ConfigError(
            f"{name} has no “part_ids” that are those of the labels. Give the aabb.json of these "
            "parts, or give the boxes without labels, and each becomes a part."
        )
    return boxes.set_file(document, found).message


def request_of(
    document: Document, choice: GenerateChoice, options: GenerateOptions, engine: str
) -> GenerateRequest:
    """What to generate of a document that has parts, printed as asked from then on.

    Raises `ConfigError` for parts that there are not and lengths that do not fit.
    """
    parts = document.parts
    if parts is None:
        raise AppError("There are no parts yet. Segment the mesh first.")
    known = tuple(part.id for part in parts.parts)
    chosen = known if choice.part_ids is None else choice.part_ids
    unknown = next((i for i in chosen if i not in set(known)), None)
    if unknown is not None:
        shown = ", ".join(map(str, known[:20])) + (", …" if len(known) > 20 else "")
        raise ConfigError(f"There is no part {unknown}. The parts are {shown}.")
    check_lengths(options.geometric, document.source)
    document.set_printing(choice.printing)
    aabbs = boxes.effective_aabbs(document, chosen)
    return GenerateRequest(document.source, parts, chosen, engine, options, aabbs)
