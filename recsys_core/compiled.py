"""Functions that numba compiles to machine code and keeps from one process to the next; import it only where such a function is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """The function compiled: numba's cache keeps it beside its module, else in the user's cache folder or in NUMBA_CACHE_DIR.

    Where none of them can be written to (a read-only install), each process compiles what it calls, which takes seconds; set
    NUMBA_CACHE_DIR to a folder that nobody else can write to.
    """
    return _compiled(function)


def summing(function: F) -> F:
    """The same for a function whose sums of floats may be taken in any order, several at a time; it must meet no NaN."""
    return _compiled(function, fastmath=True)


def _compiled(function: F, **more: Any) -> F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return njit(**options)(function)
