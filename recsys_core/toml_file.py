"""TOML files that a site writes: every fault is said with its line, which tomllib keeps of syntax errors alone."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

Fault = tuple[tuple[str, ...], str]


def checked(
    text: str, name: str, remedy: str, faults: Callable[[dict[str, Any]], Iterable[Fault]], error: type[ValueError]
) -> dict[str, Any]:
    """What the file `name` says; `error` when it is no TOML, with the first place and `remedy`, or with all that `faults` finds.

    A fault is (path of a key, () = the whole file, what is wrong with it); each is told on a line of its own, with its place in the file.
    """
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:  # tomllib passes on what int() says to thousands of digits
        told = re.fullmatch(r"(.*) \(at line (\d+), (column \d+)\)", str(wrong), re.DOTALL)
        what, line = (f"{told[1]} at {told[3]}", int(told[2])) if told else (str(wrong), _first_wrong(text))
        raise error(f"{name}, line {line}: not TOML: {what}; {remedy}") from wrong
    if found := list(faults(given)):
        at = lines(text)
        raise error("\n".join(f"{name}, line {n}: {what}" for n, what in sorted((at.get(path, 1), what) for path, what in found)))
    return given


def nearest(name: str, known: Sequence[str]) -> str:
    """A remedy for an unknown name: the known one that is most like it, and all there are.

    >>> nearest("Add to chart", ("view", "add_to_cart"))
    'did you mean add_to_cart? there are view, add_to_cart'
    """
    near = difflib.get_close_matches(re.sub(r"[\s-]+", "_", name.strip().lower()), known, 1)
    return f"{f'did you mean {near[0]}? ' if near else ''}there are {', '.join(known)}"


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(first line, what it says) of each TOML statement, its own values alone; None for one that does not end.

    tomllib keeps no lines. Lines are read until they parse: a string or an array over several lines does not before its end.
    """
    held: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        held.append(line)
        try:
            parsed = tomllib.loads("\n".join(held))
        except (ValueError, RecursionError):
            continue
        yield number - len(held) + 1, parsed
        held.clear()
    if held:
        yield number - len(held) + 1, None


def _first_wrong(text: str) -> int:
    """The first line of the statement with which `text` stops being TOML: it does not end, or it says a thing again."""
    starts = [line for line, _ in _statements(text)]
    lines = text.replace("\r\n", "\n").split("\n")
    return next(n for n, following in pairwise([*starts, len(lines) + 1]) if not _parses("\n".join(lines[: following - 1])))


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def lines(text: str) -> dict[tuple[str, ...], int]:
    """Path of each table and of each key in one → the line that first names it; `text` is TOML."""
    found: dict[tuple[str, ...], int] = {}
    lines = text.split("\n")
    table: tuple[str, ...] = ()
    for number, said in _statements(text):
        paths = list(_paths(said or {}))
        if lines[number - 1].lstrip().startswith("["):  # the header of a table: its path alone
            table = paths[-1]
        else:
            paths = [table + path for path in paths]
        for path in paths:
            found.setdefault(path, number)
    return found


def _paths(said: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in said.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *path) for path in _paths(value))


def whole(low: int, high: int) -> Callable[[Any], bool]:
    """Whether a value is a whole number from `low` to `high`; true is none."""
    return lambda value: type(value) is int and low <= value <= high


def number(low: float, high: float) -> Callable[[Any], bool]:
    """Whether a value is a number from `low` to `high`."""
    return lambda value: type(value) in (int, float) and low <= value <= high
