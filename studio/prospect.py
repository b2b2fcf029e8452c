"""What Generate is about to do, in words: the same for the page and the command line."""

from dataclasses import dataclass

from partwise.core.errors import AppError
from partwise.vram.planner import in_words as plan_in_words
from partwise.xpart.settings import MAX_PARTS, XPartSettings
from studio.catalog import GENERATE, XPART, EngineChoice, Engines, in_words
from studio.generate import GenerateOptions, foresee
from studio.outlook import Outlook


@dataclass(frozen=True)
class Prospect:
    """Which engine would run and what it would do.

    problem: what is wrong with that, empty when nothing is. is_refused: there can be no such run.
    """

    choice: EngineChoice
    words: str
    problem: str = ""
    is_refused: bool = False

    @property
    def sentence(self) -> str:
        """All of it on one line."""
        end = f" {self.problem}" if self.problem else ""
        return f"{self.choice.title} {self.words}{end}"


def prospect_of(
    engines: Engines, requested: str, options: GenerateOptions, part_count: int
) -> Prospect:
    """What a run would be; raises `AppError` kinds when the engine cannot run here at all."""
    if problem := _why_too_many(engines, requested, part_count):
        choice = engines.choose(GENERATE, requested)
        return Prospect(choice, f"({choice.reason}).", problem, is_refused=True)
    choice, ahead = foresee(engines, requested, options, max(1, part_count))
    if ahead is None:
        where = "on the CPU, no GPU memory needed"
        return Prospect(
            choice,
            f"{where} ({choice.reason}). It closes what is visible: each part keeps its surface "
            "and gets caps where it was cut.",
        )
    if not part_count:
        return Prospect(choice, f"({choice.reason}). No part is chosen yet.")
    where = "on the GPU" if choice.needs_gpu and not _is_on_host(ahead) else "on the CPU"
    work = f"{where} ({choice.reason}). {_work_words(options.xpart, part_count)}"
    plan = ahead.plan
    if plan is not None and not plan.fits:
        return Prospect(choice, f"{work}.", plan_in_words(plan))
    memory = plan_in_words(plan) if plan else "the GPU tells its memory when a model is loaded"
    return Prospect(choice, f"{work}: about {in_words(ahead.seconds)}; {memory.rstrip('.')}.")


def check_part_count(engines: Engines, requested: str, part_count: int) -> None:
    """Raise `AppError` when the engine cannot make so many parts at once, or not run here."""
    if problem := _why_too_many(engines, requested, part_count):
        raise AppError(problem)


def _why_too_many(engines: Engines, requested: str, part_count: int) -> str:
    if part_count <= MAX_PARTS or engines.choose(GENERATE, requested).name != XPART:
        return ""
    return (
        f"X-Part makes at most {MAX_PARTS} parts at once, and {part_count} are chosen. Merge some "
        "of them, choose fewer, or take the built-in engine."
    )


def _is_on_host(ahead: Outlook) -> bool:
    return ahead.plan is not None and ahead.plan.is_on_host


def _work_words(settings: XPartSettings, part_count: int) -> str:
    parts = f"{part_count} {'part' if part_count == 1 else 'parts'}"
    return f"{parts}, {settings.steps} steps, {settings.octree_resolution}³ cells"
