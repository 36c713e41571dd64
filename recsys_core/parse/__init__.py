"""Landing files to typed rows: every object of every line becomes an accepted event or a quarantined line, with a reason from RULES."""

from __future__ import annotations

from recsys_core.parse.event import EventParser, ParseJob
from recsys_core.parse.files import PARSED_SCHEMA
from recsys_core.parse.rules import RULES, Fault
from recsys_core.parse.staging import FILE_SCHEMA, Parsed, parse_files, parsed_here, parsed_rows

__all__ = [
    "FILE_SCHEMA",
    "PARSED_SCHEMA",
    "RULES",
    "EventParser",
    "Fault",
    "ParseJob",
    "Parsed",
    "parse_files",
    "parsed_here",
    "parsed_rows",
]
