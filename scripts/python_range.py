"""Ends without error when the Python that runs it is one that pyproject.toml asks for.

A Python too old to read this ends with one, which says the same.
"""

import re
import sys
from pathlib import Path


def read_python_range() -> tuple[tuple[int, int], tuple[int, int]]:
    """The oldest version that runs Partwise and the first that does not: ((3, 10), (3, 15))."""
    project = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text("utf-8")
    line = re.search(r'(?m)^requires-python = ">=3\.(\d+),<3\.(\d+)"$', project)
    if line is None:
        raise ValueError("pyproject.toml names no range of Python versions as >=3.A,<3.B")
    return (3, int(line[1])), (3, int(line[2]))


if __name__ == "__main__":
    oldest, too_new = read_python_range()
    sys.exit(not oldest <= sys.version_info[:2] < too_new)
