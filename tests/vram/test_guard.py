"""Out-of-memory: recognised, let go of, tried again in less; and everything else left alone."""

import errno
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from partwise.core.errors import Cancelled, EngineError, MemoryBudgetError, WeightsError
from partwise.core.worker_process import WorkerOutOfMemory
from partwise.vram.guard import Failure, FailureKind, Guard, out_of_memory
from partwise.vram.plan import Plan, PlanLine, Rung, StagePlan
from partwise.vram.readings import EventKind, MemoryEvent

GIB = 2**30
DEVICE, HOST, DISK = FailureKind.DEVICE, FailureKind.HOST, FailureKind.DISK
TORCH_TEXT = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of "
    "which 1.00 GiB is free. Including non-PyTorch memory, this process has 6.00 GiB memory in "
    "use. Of the allocated memory 5.00 GiB is allocated by PyTorch, and 512.00 MiB is reserved by "
    "PyTorch but unallocated."
)


def _plan(batch: int) -> Plan:
    stage = StagePlan("masks", "Masks", "p3sam", {"prompt_batch": batch}, GIB, batch * GIB, 1.0)
    return Plan(
        job="Segment",
        rung=Rung.WHOLE,
        precision="fp32",
        is_on_gpu=True,
        is_staged=False,
        stages=(stage,),
        evict=(),
        lines=(PlanLine("Masks", "activations", batch * GIB),),
        peak_bytes=batch * GIB,
        room_bytes=6 * GIB,
        seconds=1.0,
        quality="",
        fits=True,
    )


class _Bench:
    """A guard whose plans halve the batch, and what was done in which order."""

    def __init__(self, max_retries: int = 3) -> None:
        self.done: list[str] = []
        self.events: list[MemoryEvent] = []
        self.failures: list[Failure] = []
        self.on_free: Callable[[], None] = lambda: None
        self.guard = Guard(
            replan=self._replan, free=self._free, tell=self.events.append, max_retries=max_retries
        )

    def _replan(self, failed: Plan, failure: Failure) -> Plan | None:
        self.done.append("replan")
        self.failures.append(failure)
        batch = failed.stages[0].knobs["prompt_batch"] // 2
        return _plan(batch) if batch else None

    def _free(self) -> None:
        self.done.append("free")
        self.on_free()


class CompilerError(Exception):
    """Some library's own."""


class OutOfMemoryError(MemoryError):
    """As array libraries on the GPU name theirs."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError(TORCH_TEXT), DEVICE),
        (torch.cuda.OutOfMemoryError("HIP out of memory. Tried to allocate 20 MiB"), DEVICE),
        (OutOfMemoryError("Out of memory allocating 1,024 bytes"), DEVICE),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), DEVICE),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"), DEVICE),
        (RuntimeError("Invalid buffer size: 12.50 GB"), DEVICE),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"), DEVICE),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), DEVICE),
        (RuntimeError("HIP error: hipErrorOutOfMemory"), DEVICE),
        (RuntimeError("HIPBLAS_STATUS_ALLOC_FAILED when calling hipblasCreate"), DEVICE),
        (RuntimeError("/build/tensorview.h(1) cuda failed with error 2 out of memory"), DEVICE),
        (RuntimeError("Error out of memory at line 380 in file ops.cu"), DEVICE),
        (RuntimeError("cudaMalloc failed"), DEVICE),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: "
                "you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"
            ),
            HOST,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), HOST),
        (RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"), HOST),
        (RuntimeError("std::bad_alloc"), HOST),
        (MemoryError(), HOST),
        (MemoryError("Unable to allocate 8.0 EiB for an array with shape (1,)"), HOST),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), HOST),
        (WorkerOutOfMemory("The step needs more memory than its limit."), HOST),
        (OSError(errno.ENOSPC, "No space left on device"), DISK),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DISK),
        (RuntimeError("I/O error: No space left on device (os error 28)"), DISK),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (RuntimeError("CUDA error: device-side assert triggered"), None),
        (ValueError("out of memory"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (EngineError("The step's process ended unexpectedly."), None),
        (MemoryBudgetError("It does not fit."), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_out_of_memory_is_told_from_other_errors(
    error: BaseException, kind: FailureKind | None
) -> None:
    assert out_of_memory(error) is kind


def test_a_real_request_for_too_much_is_recognised() -> None:
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**60, dtype=np.uint8)
    assert out_of_memory(torch_error.value) is HOST
    assert out_of_memory(numpy_error.value) is HOST


def _raised(error: BaseException, cause: BaseException, *, is_from: bool) -> BaseException:
    try:
        try:
            raise cause
        except BaseException as first:
            if is_from:
                raise error from first
            raise error  # noqa: B904  (it is the context that is tested)
    except BaseException as second:
        return second


@pytest.mark.parametrize("is_from", [True, False])
def test_what_caused_an_error_counts_but_a_cancel_stays_a_cancel(is_from: bool) -> None:
    weights = _raised(WeightsError("cannot be read"), MemoryError(), is_from=is_from)
    stopped = _raised(Cancelled(), MemoryError(), is_from=is_from)
    interrupt = _raised(KeyboardInterrupt(), MemoryError(), is_from=is_from)
    assert out_of_memory(weights) is HOST
    assert out_of_memory(stopped) is None
    assert out_of_memory(interrupt) is None


def test_a_result_passes_with_its_plan_and_nothing_is_freed() -> None:
    bench = _Bench()
    result, used = bench.guard.run("masks", _plan(8), lambda planned: planned.job)
    assert (result, used) == ("Segment", _plan(8))
    assert bench.done == []
    assert bench.events == []


def test_it_goes_down_until_it_fits_and_tells_each_step() -> None:
    bench = _Bench()

    def work(planned: Plan) -> int:
        batch = planned.stage("masks").knobs["prompt_batch"]
        if batch > 2:
            raise torch.OutOfMemoryError(TORCH_TEXT)
        return batch

    result, used = bench.guard.run("masks", _plan(8), work)
    assert (result, used) == (2, _plan(2))
    assert bench.done == ["free", "replan", "free", "replan"]
    assert [event.kind for event in bench.events] == [EventKind.STEP_DOWN] * 2
    assert bench.events[0].subject == "Masks"
    assert bench.events[0].detail == (
        "the GPU's memory ran out (prompts in batches of 8); now prompts in batches of 4"
    )
    assert bench.failures[0].observed_bytes == int(7.5 * GIB)  # held without cache, and asked for


def test_nothing_of_the_failed_attempt_lives_when_memory_is_freed_and_when_it_is_run_again() -> (
    None
):
    bench, held, seen = _Bench(), list[weakref.ref[object]](), list[bool]()
    kept: list[BaseException] = []  # as a logger or debugger would

    def all_dead() -> bool:
        return not any(ref() is not None for ref in held)

    def innermost() -> None:
        array = np.zeros(8)
        held.append(weakref.ref(array))
        raise MemoryError

    def inner(tensor: torch.Tensor) -> None:
        try:
            innermost()
        except MemoryError as first:
            local = tensor + 1
            held.append(weakref.ref(local))
            kept.extend([first, torch.OutOfMemoryError(TORCH_TEXT)])
            raise kept[-1] from first

    def work(planned: Plan) -> str:
        seen.append(all_dead())
        tensor = torch.zeros(8)
        held.append(weakref.ref(tensor))
        if planned.stage("masks").knobs["prompt_batch"] > 2:
            inner(tensor)
        return "done"

    bench.on_free = lambda: seen.append(all_dead())
    result, _ = bench.guard.run("masks", _plan(8), work)
    assert result == "done"
    assert seen == [True] * 5  # three attempts, freed between them
    assert len(held) == 7


def test_an_error_that_the_caller_is_handling_is_neither_judged_nor_taken_apart() -> None:
    bench = _Bench()

    def fail(planned: Plan) -> None:
        raise RuntimeError("shapes do not match")

    def fail_once(planned: Plan) -> str:
        if planned == _plan(8):
            raise MemoryError
        return "done"

    handled: list[BaseException] = []
    try:
        raise MemoryError("the caller's")
    except MemoryError as outer:
        handled.append(outer)
        with pytest.raises(RuntimeError, match="shapes"):
            bench.guard.run("masks", _plan(8), fail)
        result, _ = bench.guard.run("masks", _plan(8), fail_once)
    assert result == "done"
    assert handled[0].__traceback__ is not None


@pytest.mark.parametrize(
    "error",
    [Cancelled(), KeyboardInterrupt(), ValueError("x"), RuntimeError("x"), WeightsError("x")],
)
def test_other_errors_pass_as_they_are(error: BaseException) -> None:
    bench = _Bench()

    def work(planned: Plan) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        bench.guard.run("masks", _plan(8), work)
    assert caught.value is error
    assert bench.done == []
    assert bench.events == []


def _failing(error: Exception) -> Callable[[Plan], None]:
    def work(planned: Plan) -> None:
        raise error

    return work


def test_no_smaller_plan_ends_in_a_plain_message_with_the_bytes() -> None:
    bench = _Bench()
    with pytest.raises(MemoryBudgetError) as caught:
        bench.guard.run("masks", _plan(2), _failing(torch.OutOfMemoryError("CUDA out of memory")))
    assert bench.done == ["free", "replan"] * 2
    assert caught.value.needed_bytes == GIB
    assert caught.value.available_bytes == 6 * GIB
    assert caught.value.__context__ is None
    assert caught.value.message == (
        "Segment stopped in “Masks”: the GPU's memory ran out. It needs about 1.0 GiB; 6.0 GiB "
        "could be used when it was planned. Tried: prompts in batches of 2; prompts in batches of "
        "1. Close other programs that use the GPU, raise the memory budget or allow more ways to "
        "fit."
    )
    assert bench.events[-1].kind is EventKind.OUT_OF_MEMORY


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_it_is_tried_again_no_more_often_than_allowed(retries: int) -> None:
    bench = _Bench(retries)
    attempts: list[Plan] = []

    def work(planned: Plan) -> None:
        attempts.append(planned)
        raise MemoryError

    with pytest.raises(MemoryBudgetError, match="the machine's memory ran out"):
        bench.guard.run("masks", _plan(1024), work)
    assert len(attempts) == retries + 1
    assert bench.done.count("free") == retries + 1


def test_a_full_disk_is_not_tried_again() -> None:
    bench = _Bench()
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(MemoryBudgetError, match="the disk is full") as caught:
        bench.guard.run("masks", _plan(8), _failing(full))
    assert "Delete files" in caught.value.message
    assert bench.done == ["free"]


def test_a_stage_that_the_plan_does_not_name_is_guarded_too() -> None:
    bench = _Bench(0)
    with pytest.raises(MemoryBudgetError, match="“loading”"):
        bench.guard.run("loading", replace(_plan(8), stages=()), _failing(MemoryError()))


def test_a_driver_that_tells_nonsense_is_not_believed() -> None:
    bench = _Bench()
    text = TORCH_TEXT.replace("has 6.00 GiB memory", "has 17179869184.00 GiB memory")
    with pytest.raises(MemoryBudgetError):
        bench.guard.run("masks", _plan(2), _failing(torch.OutOfMemoryError(text)))
    assert bench.failures[0].observed_bytes is None


def test_a_negative_number_of_retries_is_refused() -> None:
    with pytest.raises(ValueError, match="max_retries is -1"):
        _Bench(-1)
