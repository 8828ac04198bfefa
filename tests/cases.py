"""Cases of a test, of which some are among the slow tests."""

from collections.abc import Iterable

import pytest


def slow(*values: object) -> object:
    """Return a case of the slow tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


def first_quick(cases: Iterable, count: int = 1) -> list:
    """Return the cases, of which all but the first so many are slow tests; a tuple is one case."""
    cases = list(cases)
    rest = [case if isinstance(case, tuple) else (case,) for case in cases[count:]]
    return cases[:count] + [slow(*values) for values in rest]
