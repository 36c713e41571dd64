"""One trial of each promise (`make soak` makes them all): the short form, on one undisturbed shop that all of them share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.promises import PROMISES
from tests.faults.stand import REPO, Stand, Unavailable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[Stand]:
    """The undisturbed shop and a PostgreSQL server."""
    made = Stand(tmp_path_factory.mktemp("faults"), short=True)
    yield made
    made.close()


@pytest.mark.parametrize(("name", "number"), [(name, number) for name, promise in PROMISES.items() for number in promise.short])
def test_promise(stand: Stand, tmp_path: Path, name: str, number: int) -> None:
    try:
        PROMISES[name].try_it(name, number, stand, tmp_path / "trial")
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_every_promise_is_tried_in_ci() -> None:
    for name, promise in PROMISES.items():
        assert promise.short or (REPO / promise.elsewhere.split()[0]).exists(), name
