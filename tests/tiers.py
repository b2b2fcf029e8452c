"""What belongs to the full tier only, and seeds for laws that hold for random objects."""

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**31 - 1)  # of numpy's and Python's generators


def costly(share: float) -> settings:
    """Settings of a law whose examples take long: only a share of the tier's, at least two."""
    return settings(max_examples=max(2, round(share * settings.default.max_examples)))


def slow(*values: object) -> ParameterSet:
    """One set of a test's parameters, for the full tier."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(kept: Iterable[object], every: Iterable[object]) -> list[ParameterSet]:
    """Every value of a test's one parameter; those that are not `kept` are for the full tier."""
    kept = list(kept)
    return [pytest.param(value) if value in kept else slow(value) for value in every]
