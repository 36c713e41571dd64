"""Experiments with lists: which arm a user is in, by a hash; a site declares them in a TOML file.

[more_variety]                       # the experiment's name
salt = "2026-12"
from = 2026-12-01
to = 2026-12-28

[more_variety.arms.as_before]        # the first arm is what the others are compared with
share = 0.5

[more_variety.arms.varied]
share = 0.5
diversity = 0.5                      # what is otherwise than for everybody
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from recsys_core import toml_file
from recsys_core.recommenders import RECOMMENDERS
from recsys_core.recommenders.base import Ints

# The variant of lists without an experiment.
DEFAULT = "default"
_REMEDY = "write [name] with salt, from and to, and [name.arms.some_arm] with share for each arm"


class ExperimentError(ValueError):
    """Experiments that cannot be run: every fault of the file on a line of its own, with its place and its remedy."""


@dataclass(frozen=True)
class Arm:
    """One way of making lists: `changes` are what is otherwise than without the experiment, by the names of OVERRIDES."""

    name: str
    share: float
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Arms that users are dealt to on the nights from `first` to `last`, both included."""

    name: str
    salt: str
    first: dt.date
    last: dt.date
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Experiments:
    """All experiments of a site, in the order of their nights."""

    experiments: tuple[Experiment, ...] = ()

    def running(self, ds: dt.date) -> Experiment | None:
        """The experiment of a night; there is one at most."""
        return next((e for e in self.experiments if e.first <= ds <= e.last), None)


def assign(user_keys: Iterable[str], experiment: Experiment) -> Ints:
    """Number of each user's arm: a function of user key, experiment and salt, the same in every process and on every night.

    The first 53 bits of SHA-256 over "salt/experiment/user_key" are a point in [0, 1), which falls into an arm's part of it: parts lie
    side by side in the order of the file, each as wide as the arm's share. Experiments of other names or salts deal anew, independently.

    >>> arms = Arm("a", 0.5), Arm("b", 0.5)
    >>> assign(["u3", "u4", "u5", "u6"], Experiment("e", "s", dt.date.min, dt.date.max, arms)).tolist()
    [1, 1, 0, 0]
    """
    prefix = f"{experiment.salt}/{experiment.name}/".encode()
    points = [int.from_bytes(hashlib.sha256(prefix + key.encode()).digest()[:8], "big") >> 11 for key in user_keys]
    ends = np.cumsum([arm.share for arm in experiment.arms])[:-1]
    return np.searchsorted(ends, np.array(points, np.float64) / 2**53, side="right").astype(np.int64)


def experiments(text: str, name: str) -> Experiments:
    """The experiments of the TOML file `name`; ExperimentError names all its faults."""
    given = toml_file.checked(text, name, _REMEDY, _faults, ExperimentError)
    found = [
        Experiment(
            experiment,
            table["salt"],
            table["from"],
            table["to"],
            tuple(
                Arm(arm, float(said["share"]), {k: said[k] for k in sorted(said) if k != "share"}) for arm, said in table["arms"].items()
            ),
        )
        for experiment, table in given.items()
    ]
    return Experiments(tuple(sorted(found, key=lambda e: e.first)))


# -- faults ------------------------------------------------------------------------------------------------------------------------
def _weights(value: Any) -> bool:
    given = isinstance(value, dict) and value.keys() <= RECOMMENDERS.keys() and all(toml_file.number(0, 100)(v) for v in value.values())
    return given and any(value.values())


# What an arm can change → (what a value has to be, what to give): rules of lists, how they are made, and how sources are blended.
OVERRIDES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{name: (toml_file.number(0, 1), "a number from 0 to 1") for name in ("diversity", "calibration")},
    **{n: (toml_file.whole(0, 1000), "a whole number from 0 to 1000") for n in ("exploration_slots", "because_you_liked", "new_for_you")},
    **{name: (toml_file.whole(1, 365), "a whole number from 1 to 365") for name in ("new_nights", "popularity_nights")},
    "sources": (
        _weights,
        f"a table of weights from 0 to 100 of some of {', '.join(RECOMMENDERS)}, like {{ transitions = 1.0, popularity = 0.1 }}",
    ),
}
_DATE = "a date without quotes, like 2026-12-01"
_ASKED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "salt": (lambda v: isinstance(v, str) and bool(v.strip()), 'any words in quotes, like "2026-12"'),
    "from": (lambda v: type(v) is dt.date, _DATE),
    "to": (lambda v: type(v) is dt.date, _DATE),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Faults = Iterator[tuple[tuple[str, ...], str]]


def _faults(given: dict[str, Any]) -> Faults:
    """(path of a key, what is wrong with it and what to write instead)"""
    dated = []
    for experiment, table in given.items():
        if not isinstance(table, dict):
            yield (experiment,), f"{experiment} is no experiment; {_REMEDY}"
            continue
        if not _NAME.fullmatch(experiment):
            yield (experiment,), f"[{experiment}] is no name: give up to 64 letters, digits, _ and -"
        known = (*_ASKED, "arms")
        for key in table.keys() - known:
            yield (experiment, key), f"[{experiment}] has no key {key!r}; {toml_file.nearest(key, known)}"
        wrong = False
        for key, (right, wanted) in _ASKED.items():
            if key not in table:
                wrong = True
                yield (experiment,), f"[{experiment}] lacks {key}: give {wanted}"
            elif not right(table[key]):
                wrong = True
                yield (experiment, key), f"[{experiment}] {key} is {_said(table[key])}; give {wanted}"
        if not wrong and table["from"] > table["to"]:
            yield (experiment, "to"), f"[{experiment}] ends on {table['to']}, before it begins on {table['from']}"
        elif not wrong:
            dated.append((table["from"], table["to"], experiment))
        yield from _arm_faults(experiment, table.get("arms"))
    for (first, last, one), (first_then, last_then, other) in combinations(dated, 2):
        if first <= last_then and first_then <= last:
            night = max(first, first_then)
            yield (other,), f"[{other}] and [{one}] both run on {night}: a night has one experiment at most; move one of them"


def _arm_faults(experiment: str, arms: Any) -> Faults:
    path = (experiment, "arms")
    if not isinstance(arms, dict) or len(arms) < 2 or not all(isinstance(a, dict) for a in arms.values()):
        yield (
            path if arms is not None else (experiment,),
            f"[{experiment}] needs two arms at least: write [{experiment}.arms.some_arm] for each",
        )
        return
    shares = []
    for arm, said in arms.items():
        where = f"[{experiment}.arms.{arm}]"
        if not _NAME.fullmatch(arm) or arm == DEFAULT:
            yield (*path, arm), f"{where} is no name of an arm: give up to 64 letters, digits, _ and -, other than {DEFAULT}"
        share = said.get("share")
        if "share" not in said:
            yield (*path, arm), f"{where} lacks share: give a number above 0, all of them summing to 1"
        elif type(share) not in (int, float) or not 0 < share < 1:
            yield (*path, arm, "share"), f"{where} share is {_said(share)}; give a number above 0 and below 1"
        else:
            shares.append(share)
        for key, value in said.items():
            if key == "share":
                continue
            if key not in OVERRIDES:
                yield (*path, arm, key), f"{where} has no key {key!r}; {toml_file.nearest(key, ('share', *OVERRIDES))}"
            elif not OVERRIDES[key][0](value):
                yield (*path, arm, key), f"{where} {key} is {_said(value)}; give {OVERRIDES[key][1]}"
    if len(shares) == len(arms) and abs(sum(shares) - 1) > 1e-9:
        yield path, f"[{experiment}] has shares that sum to {sum(shares):g}: make them sum to 1"


def _said(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)[:60]
