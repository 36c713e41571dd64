"""What the pages say can be followed: links lead somewhere, commands parse, settings exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from jobs.__main__ import Commands, main
from jobs.options import Night
from jobs.settings import Settings
from jobs.settings_page import settings_markdown

REPO = Path(__file__).resolve().parent.parent
# What happened is left as it was.
HISTORY = ("CHANGELOG.md", "docs/decisions.md")
PAGES = sorted(str(p.relative_to(REPO)) for p in (*REPO.glob("*.md"), *(REPO / "docs").glob("*.md")))
LIVING = [page for page in PAGES if page not in HISTORY]
# Names of other programs; all the others are a setting, or stand in the code.
ELSEWHERE = {"HADOOP_CONF_DIR", "PYTHONPATH", "SPARK_HOME", "TORCH_BACKEND", "UV_DEFAULT_INDEX", "UV_FIND_LINKS"}
CODE = ("**/*.py", "**/*.sql", "docker/**/*", "Makefile")


@cache
def text(page: str) -> str:
    return (REPO / page).read_text(encoding="utf-8")


@cache
def blocks(page: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


@cache
def spans(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL))


@cache
def anchors(page: str) -> set[str]:
    """Names that a link may end in, as GitHub makes them of headings."""
    found: list[str] = re.findall(r'<a (?:id|name)="([^"]+)"', text(page))
    for heading in re.findall(r"^#{1,6} +(.*?)\s*$", re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        shown = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.append(
            f"{slug}-{again}" if (again := sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", f) is not None for f in found)) else slug
        )
    return set(found)


def commands(page: str) -> Iterator[tuple[str, bool]]:
    """(a command line, whether it stands in a block and so has to be whole)."""
    for language, content in blocks(page):
        if language in ("sh", "bash", "console", ""):
            for line in re.sub(r"\\\n\s*", " ", content).splitlines():
                yield re.split(r"\s#\s|\s{2,}#", line.removeprefix("$ "))[0], language != ""
    for span in spans(page):
        yield span, False


def calls(page: str, program: str) -> Iterator[tuple[list[str], bool]]:
    """Arguments of each call of a program, without what the shell takes for itself."""
    for line, whole in commands(page):
        for found in re.findall(rf"{program}(?![\w.])((?:[^|;&>\n\"']|\"[^\"]*\"|'[^']*')*)", line):
            words = shlex.split(found.replace("\\|", "|"))
            yield words, whole and not any(set(word) & set("…[]") for word in words)


def placeholder(word: str) -> bool:
    return word.isupper() or bool(set(word) & set("…[]$"))


# -- links -------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    prose = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL))
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (REPO / page).parent / path if path else REPO / page
        assert target.exists(), f"{page}: {link} leads nowhere"
        assert target.resolve().is_relative_to(REPO), f"{page}: {link} leads out of the repository"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(REPO))), f"{page}: {link}: there is no such heading"


# -- commands ----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", LIVING)
def test_jobs_are_called_as_they_can_be(page: str) -> None:
    group = Commands()
    for words, whole in calls(page, "-m jobs"):
        if not words or placeholder(words[0]) or words[0].startswith("-"):
            continue
        command = group.get_command(click.Context(main), words[0])
        assert command, f"{page}: python -m jobs {shlex.join(words)}: no such command"
        context = click.Context(command, info_name=words[0])
        try:
            given, _, _ = command.make_parser(context).parse_args(words[1:])
        except click.UsageError as error:
            raise AssertionError(f"{page}: python -m jobs {shlex.join(words)}: {error.message}") from None
        for parameter in command.params:
            value = given.get(parameter.name or "")
            if whole and parameter.required:
                assert value is not None, f"{page}: python -m jobs {shlex.join(words)}: {parameter.name} is missing"
            if isinstance(value, str) and isinstance(parameter.type, click.Choice | Night) and not placeholder(value):
                parameter.type.convert(value, parameter, context)


@pytest.mark.parametrize("page", LIVING)
def test_benchmarks_are_there_with_their_options(page: str) -> None:
    dotted = [[name, *rest] for name, rest, _ in modules(page)]
    for words in [*(words for words, _ in calls(page, "-m benchmarks")), *dotted]:
        if not words or placeholder(words[0]):
            continue
        module = REPO / "benchmarks" / f"{words[0].replace('-', '_')}.py"
        assert module.is_file(), f"{page}: there is no benchmark {words[0]}"
        code = module.read_text(encoding="utf-8")
        for option in (word.partition("=")[0].strip("[]") for word in words[1:] if word.lstrip("[").startswith("--")):
            assert f'"{option}"' in code, f"{page}: benchmark {words[0]} has no option {option}"


def modules(page: str) -> Iterator[tuple[str, list[str], bool]]:
    """Calls of the form `python -m benchmarks.name`."""
    for line, whole in commands(page):
        for name, rest in re.findall(r"-m benchmarks\.(\w+)((?: [^|;&>\n]*)?)", line):
            yield name, shlex.split(rest), whole


@pytest.mark.parametrize("page", LIVING)
def test_make_has_the_targets(page: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of_makefile(), re.MULTILINE))
    for line, _ in commands(page):
        for target in re.findall(r"(?:^|[;&] *|[A-Z_]+=\S* )make ([a-z][a-z-]*)", line):
            assert target in targets, f"{page}: make {target} does not exist"


@cache
def text_of_makefile() -> str:
    return (REPO / "Makefile").read_text(encoding="utf-8")


# -- settings ----------------------------------------------------------------------------------------------------------------------
@cache
def known_names() -> set[str]:
    """Names in capitals that stand in the code, settings among them."""
    files = {p for pattern in CODE for p in REPO.glob(pattern) if p.is_file() and p.parts[len(REPO.parts)] not in ("var", ".venv", "tests")}
    found = {name for p in files for name in re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", p.read_text(encoding="utf-8", errors="replace"))}
    found |= {name.rpartition("__")[2] for name in found}  # Airflow's, by section
    return found | {name.upper() for name in Settings.model_fields} | ELSEWHERE


@pytest.mark.parametrize("page", LIVING)
def test_settings_exist(page: str) -> None:
    named = {m[1] for span in spans(page) if (m := re.fullmatch(r"([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(=.*)?", span))}
    for _, content in blocks(page):
        named |= set(re.findall(r"(?:^|\s)([A-Z][A-Z0-9_]{2,})=", content))
    assert {n for n in named if not n.startswith(("AIRFLOW_", "OTEL_", "AWS_"))} <= known_names()


def test_every_setting_is_documented() -> None:
    assert text("docs/settings.md") == settings_markdown(), "docs/settings.md is stale: run `make generate`"
    others = "\n".join(text(page) for page in LIVING if page != "docs/settings.md")
    described = {name.upper() for name, field in Settings.model_fields.items() if field.description}
    assert {f"`{name}`" for name in described} <= set(re.findall(r"`\w+`", text("docs/settings.md")))
    assert "settings.md)" in others, "no page leads to the settings"


# -- the search itself -------------------------------------------------------------------------------------------------------------
def test_the_search_finds_what_it_looks_for() -> None:
    assert len(PAGES) > 20
    assert sum(len(list(calls(page, "-m jobs"))) for page in LIVING) > 60
    assert sum(len(list(calls(page, "-m benchmarks"))) for page in LIVING) > 30
    assert {"what-breaks-first", "sizes"} & (anchors("docs/scale.md") | anchors("docs/kubernetes.md"))
    assert "USER_KEY_SECRETS" not in known_names()
