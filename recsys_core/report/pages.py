"""From templates to pages: all text is escaped, in both languages, and the same data are the same bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from recsys_core.report.words import Text, Words, layers, named, shown


def render(template: str, data: Mapping[str, Any], **more: Any) -> str:
    """A page from a template of this folder. Text comes out escaped, without what no reader sees, and no longer than a line or two."""
    return _environment().get_template(template).render(data, **more)


@cache
def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_finished
    )
    found.filters |= {"number": _number, "percent": _percent, "named": named, "stamp": _stamp, "plain": _plain, "hours": _hours}
    found.globals |= {"t": lambda en, zh: Words(str(en), str(zh)), "link": _link}
    return found


def _finished(value: Any) -> Any:
    """What an expression of a template comes out as."""
    if isinstance(value, Words):
        return _in_both(value)
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else "" if value is None else value


def _in_both(text: Text) -> Markup:
    return Markup("").join(
        Markup('<span lang="{}">{}</span>').format(lang, shown(part)) if lang else escape(shown(part)) for lang, part in layers(text)
    )


def _link(href: str, text: Text) -> Markup:
    """A link that stays in the reader's language: the address says which one it is."""
    en, zh = text if isinstance(text, Words) else (text, text)
    there = href if "#" in href else href + "#zh"
    return Markup('<a lang="en" href="{}">{}</a><a lang="zh" href="{}">{}</a>').format(
        href, shown(en), there.replace("#", "#zh-") if "#" in href else there, shown(zh)
    )


def _number(value: Any) -> str:
    if value is None or isinstance(value, jinja2.Undefined):
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and (abs(value) >= 1 or isinstance(value, int)) else f"{value:.4f}"


def _percent(value: Any) -> str:
    return "" if value is None or isinstance(value, jinja2.Undefined) else f"{value:.1%}"


def _stamp(value: dt.datetime | None) -> str:
    return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC" if value else ""


def _hours(value: float | None) -> Text:
    """A span of hours, in days where it is long."""
    if value is None:
        return ""
    return f"{value:.1f} h" if abs(value) < 72 else Words(f"{value / 24:.0f} days", f"{value / 24:.0f} 天")


def _plain(text: Text) -> str:
    """Where no element can stand: both languages in one line."""
    return " · ".join(shown(part) for _, part in layers(text))
