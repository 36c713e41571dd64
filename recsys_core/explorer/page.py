"""A page: a template with the night, the language and the links of a request; all text is escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request

from recsys_core.explorer.draw import line
from recsys_core.explorer.reads import Night, Reads
from recsys_core.explorer.words import Language, said

LONGEST = 300


class Page:
    """What all pages of a request have in common; without a night, a page that only says something."""

    def __init__(self, request: Request, language: Language, reads: Reads | None = None, night: Night | None = None) -> None:
        self._root = request.scope.get("root_path", "")
        self._language, self._night = language, night
        self._nights = [n.ds for n in reads.nights] if reads else []
        self._path = request.url.path.removeprefix(self._root)
        self._asked = request.url.query

    def render(self, template: str, path: tuple[str, ...] | None, kept: Mapping[str, str] | None = None, **data: Any) -> str:
        """The HTML; `path` is the page's own address, at which another night is asked for (None: nowhere), with what is `kept` in it."""
        place = self._nights.index(self._night.ds) if self._night else 0
        return (
            _environment()
            .get_template(f"{template}.html.j2")
            .render(
                lang=self._language,
                root=self._root,
                night=self._night,
                newest=self._nights[0] if self._nights else None,
                oldest=self._nights[-1] if self._nights else None,
                newer=self._nights[place - 1] if place else None,
                older=self._nights[place + 1] if place + 1 < len(self._nights) else None,
                here=template,
                path=path,
                kept=kept or {},
                url=self._url,
                switch=self._switch(),
                t=lambda word, **values: said(self._language, word, **values),
                line=line,
                **data,
            )
        )

    def _url(self, *path: object, **asked: object) -> str:
        """The address of a page in this language."""
        found = f"{self._root}/{self._language}/" + "/".join(quote(str(part), safe="") for part in path)
        return found + (f"?{urlencode(asked)}" if asked else "")

    def _switch(self) -> str:
        """The same page in the other language; the beginning, where this is none."""
        other = "zh" if self._language == "en" else "en"
        rest = self._path.removeprefix(f"/{self._language}/") if self._path.startswith(f"/{self._language}/") else ""
        return f"{self._root}/{other}/{quote(rest)}" + (f"?{self._asked}" if rest and self._asked else "")


def compile_pages() -> None:
    """Make all templates ready, so that nobody waits for it."""
    for name in _environment().list_templates(["j2"]):
        _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "pages")
    made = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"number": _number, "percent": _percent, "cut": _cut, "moment": _moment}
    return made


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and (abs(value) >= 1 or value == 0) else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _moment(value: dt.datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"
