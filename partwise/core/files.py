"""Writing files whole."""

import os
import uuid
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none; raises `OSError`.

    Who may read it is for the process's umask to say, as for any file that a person makes.
    """
    temporary = path.parent / f".partwise-{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
