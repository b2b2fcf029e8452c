"""The errors that a person sees. Their message says what happened, what was found, what to do.

AppError
├── ConfigError          a setting, file of settings or environment variable is wrong
├── MeshError            an uploaded or given mesh cannot be used
├── WeightsError         a model's weights are missing, incomplete or do not match
├── MemoryBudgetError    it does not fit in the memory that there is
├── BusyError            too much is waiting already
├── EngineError          an engine's process ended without a result
└── Cancelled            the person stopped it
"""


class AppError(Exception):
    """Base of all errors whose message is shown to the person at the screen as it stands."""

    @property
    def message(self) -> str:
        """The sentence for the person at the screen."""
        return str(self.args[0]) if self.args else type(self).__name__


class ConfigError(AppError):
    """A setting, a file of settings or an environment variable is wrong."""


class MeshError(AppError):
    """A mesh cannot be used; the message says why and what to do."""


class WeightsError(AppError):
    """A model's weights are missing, incomplete or do not match the model."""


class MemoryBudgetError(AppError):
    """A job does not fit in memory; carries the needed and the available bytes."""

    def __init__(self, message: str, *, needed_bytes: int = 0, available_bytes: int = 0) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class BusyError(AppError):
    """The waiting line is full; nothing was started."""


class EngineError(AppError):
    """An engine's process ended without a result (killed, crashed, over its time)."""


class Cancelled(AppError):
    """The person stopped the job; nothing of it remains."""

    def __init__(self, message: str = "Cancelled. Nothing was changed.") -> None:
        super().__init__(message)
