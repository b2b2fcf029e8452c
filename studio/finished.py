"""The parts of a run that are done before the others: into the document at once, kept at its end.

`put` may be called from any thread and never waits; the rest belongs to whoever follows the run.
"""

import queue
import time
from dataclasses import asdict

from partwise.geometric.complete import CompletedPart
from studio.catalog import GENERATE, EngineChoice
from studio.document import Document, Run
from studio.generate import GenerateRequest, GenerateResult

SHOW_EVERY_S = 2.0  # a browser needs a moment for each new picture
CANCELLED = "The run was cancelled before this part was made. Generate it again."
FAILED = "The run failed before this part was made. Generate it again."


class FinishedParts:
    """What a run has made so far of the parts asked for.

    Nothing of the result before changes until the first part is there.
    """

    def __init__(self, document: Document, request: GenerateRequest, choice: EngineChoice) -> None:
        self._document, self._request = document, request
        self._choice = choice
        self._queue: queue.SimpleQueue[CompletedPart] = queue.SimpleQueue()
        self._parts: dict[int, CompletedPart] = {}
        self._started = time.perf_counter()
        self._shown_at = -SHOW_EVERY_S

    def put(self, part: CompletedPart) -> None:
        """A part is done."""
        self._queue.put(part)

    def show(self) -> None:
        """Take what is done into the document, now and then."""
        is_due = time.perf_counter() - self._shown_at >= SHOW_EVERY_S
        if is_due and self._collect():
            self._into_document("", "")
            self._shown_at = time.perf_counter()

    def finish(self, result: GenerateResult) -> None:
        """Take the whole result in place of what was shown of it."""
        with self._document.lock:
            self._document.set_completion(self._request.parts, result.completed, result.run)

    @property
    def has_parts(self) -> bool:
        """Whether anything was finished."""
        self._collect()
        return bool(self._parts)

    def keep(self, why: str, ended: str) -> str:
        """Keep what is done, if anything is, of a run that ended early; says so in words.

        why: of each part that was not made. ended: why the run ended, in a sentence.
        """
        has_parts = self.has_parts
        words = f"{ended} {self._kept_words()}"
        if has_parts:
            self._into_document(why, words)
        return words

    def _kept_words(self) -> str:
        count, asked = len(self._parts), len(self._request.chosen_ids)
        were = "part was" if asked == 1 else "parts was" if count == 1 else "parts were"
        return f"{count} of {asked} {were} finished and kept."

    def _collect(self) -> bool:
        """Take over what was put; whether there was anything."""
        count = len(self._parts)
        while not self._queue.empty():
            part = self._queue.get()
            self._parts[part.part_id] = part
        return len(self._parts) > count

    def _into_document(self, why: str, ended: str) -> None:
        ids = self._request.chosen_ids
        done = tuple(self._parts[i] for i in ids if i in self._parts)
        missing = {i: why for i in ids if i not in self._parts}
        with self._document.lock:
            self._document.set_completion(self._request.parts, done, self._run(ended), missing)

    def _run(self, ended: str) -> Run:
        settings = asdict(self._request.options.of(self._choice.name))
        return Run(
            GENERATE,
            self._choice.name,
            self._choice.reason,
            {"part_ids": list(self._request.chosen_ids), **settings},
            {},
            time.perf_counter() - self._started,
            ended=ended,
        )
