"""How Spark's JVM starts: with an archive of its classes where a whole one was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_core import spark


def test_only_a_whole_archive_is_handed_to_the_jvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spark, "CLASSES", tmp_path / "classes")
    assert spark.class_archive() is None
    (tmp_path / "classes").mkdir()
    cut_off, whole = tmp_path / "classes" / "1000.jsa", tmp_path / "classes" / "3.jsa"
    cut_off.write_bytes(b"abc")
    assert spark.class_archive() is None
    whole.write_bytes(b"abc")
    assert spark.class_archive() == whole


def test_an_error_that_is_not_sparks_is_no_death() -> None:
    assert spark.death(OSError("Connection refused")) is None
