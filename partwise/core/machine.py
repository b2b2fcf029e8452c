"""What the machine itself allows a process: address space, and a folder for temporary files.

Not to be confused with the limits that we set for a job (`worker.py`): these are somebody else's,
an administrator's or a job system's, and only they can raise them.
"""

import sys
import tempfile

from partwise.core.errors import ConfigError

LEAST_ADDRESS_SPACE = 900 * 2**20  # the page at work on a small mesh; with less, libraries hang


def address_space_limit() -> int | None:
    """The machine's limit on a process's address space in bytes; None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return None if hard == resource.RLIM_INFINITY else hard


def limit_words(limit: int) -> str:
    """The sentences about a limit that is too small."""
    return (
        f"This machine lets a process use only {limit / 2**30:.2f} GiB of address space "
        "(ulimit -v), and more is needed here. Raise the limit, with “ulimit -v unlimited” in the "
        "shell or by asking the job system for more memory, and start Partwise again."
    )


def check_machine() -> None:
    """Raise `ConfigError` when nothing of ours could run here."""
    limit = address_space_limit()
    if limit is not None and limit < LEAST_ADDRESS_SPACE:
        raise ConfigError(limit_words(limit))
    try:
        tempfile.gettempdir()
    except FileNotFoundError as err:
        raise ConfigError(
            "There is no folder for temporary files: none of the usual ones can be written. Name "
            "one that can be, in the environment variable TMPDIR."
        ) from err
