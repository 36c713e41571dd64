"""The landing format: the schemas in docs/ are those of the code, and they accept and refuse the right lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from recsys_core.events import EVENT_TYPES
from recsys_core.landing_schema import EVENT_FIELDS, ITEM_FIELDS, event_schema, item_schema, main, schema_files

EVENT: dict[str, Any] = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-02T03:04:05Z"}
ITEM: dict[str, Any] = {"item_id": "i1", "title": "Wooden train"}


def test_the_schema_files_in_docs_are_fresh(repo_root: Path, tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    for name in schema_files():
        committed, generated = repo_root / "docs" / name, tmp_path / name
        assert committed.read_text(encoding="utf-8") == generated.read_text(encoding="utf-8"), (
            "run: python -m recsys_core.landing_schema docs/"
        )


def test_a_call_without_folder_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("schema", [event_schema(), item_schema()], ids=["event", "item"])
def test_every_example_fits_its_own_field(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    for name, field in schema["properties"].items():
        assert field["examples"], name
        for example in field["examples"]:
            Draft202012Validator(field).validate(example)


def test_the_event_types_are_those_of_the_code() -> None:
    assert event_schema()["properties"]["event_type"]["enum"] == list(EVENT_TYPES)


def test_field_names_are_unique() -> None:
    for fields in (EVENT_FIELDS, ITEM_FIELDS):
        assert len({field.name for field in fields}) == len(fields)


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"ts": 1767323045}, True),
        ({"unknown_field": [1, {"a": None}]}, True),
        ({"text": None, "rating": 4.5, "quantity": 2, "repairs": ["day_precision"]}, True),
        ({"event_type": "search", "item_id": None, "query": "red bicycle"}, True),
        ({"event_type": "search", "item_id": "i1"}, True),
        ({"event_type": "search", "item_id": None}, False),
        ({"event_type": "search", "item_id": None, "query": ""}, False),
        ({"item_id": None}, False),
        ({"item_id": None, "query": "red bicycle"}, False),
        ({"user_id": None}, False),
        ({"user_id": ""}, False),
        ({"user_id": 7}, False),
        ({"user_id": "u" * 257}, False),
        ({"event_type": "stare"}, False),
        ({"rating": 0.5}, False),
        ({"rating": 5.5}, False),
        ({"price": -1}, False),
        ({"event_type": "return", "quantity": -2}, True),
        ({"event_type": "purchase", "quantity": -2}, False),
        ({"fault": None}, True),
        ({"fault": "bad_row"}, False),
    ],
)
def test_events(change: dict[str, Any], good: bool) -> None:
    assert Draft202012Validator(event_schema()).is_valid({**EVENT, **change}) is good


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ({"fault": "bad_row", "record": "1,2"}, True),
        ({"fault": "bad_row", "record": {"event_type": "stare"}}, True),
        ({"fault": "bad_utf8", "record_base64": "/w=="}, True),
        ({"fault": "bad_row"}, False),
        ({"fault": 7, "record": "1,2"}, False),
        ({"record": "1,2"}, False),
        ({**EVENT, "record": 7}, True),  # on other lines the name means nothing
    ],
)
def test_fault_lines(line: dict[str, Any], good: bool) -> None:
    assert Draft202012Validator(event_schema()).is_valid(line) is good


@pytest.mark.parametrize("name", [field.name for field in EVENT_FIELDS if field.required])
def test_an_event_without_a_required_field_is_not_valid(name: str) -> None:
    assert not Draft202012Validator(event_schema()).is_valid({key: value for key, value in EVENT.items() if key != name})


@pytest.mark.parametrize(
    ("row", "good"),
    [
        (ITEM, True),
        ({**ITEM, "tags": ["toys"], "price": 0, "deleted": False}, True),
        ({"item_id": "i1", "deleted": True}, True),
        ({"item_id": "i1"}, False),
        ({"title": "Wooden train"}, False),
        ({**ITEM, "tags": "toys|wood"}, False),
        ({**ITEM, "price": "1,5"}, False),
    ],
)
def test_items(row: dict[str, Any], good: bool) -> None:
    assert Draft202012Validator(item_schema()).is_valid(row) is good
