"""Event types and a site's own weights: every fault by its line, and a changed file makes stale what weighs, never a fact."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

import jobs
from jobs import JOBS, NIGHTLY, Job
from jobs import plan as planning
from jobs import runner as running
from jobs.__main__ import main
from jobs.night import Night
from jobs.runner import Runner
from jobs.settings import SettingError, Settings
from recsys_core.encoders import space_of
from recsys_core.events import COUNTED_TYPES, DEFAULT_WEIGHTS, EVENT_TYPES, OverrideError, markdown, overridden, type_weights
from recsys_core.lake import LakeError, Stamp, empty
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)


def test_defaults_have_the_sign_of_their_polarity_and_fade_as_the_horizon_says() -> None:
    assert all(t.base_weight * t.polarity > 0 for t in EVENT_TYPES.values())
    assert list(DEFAULT_WEIGHTS.base) == list(DEFAULT_WEIGHTS.decay) == list(COUNTED_TYPES)
    assert DEFAULT_WEIGHTS.base == type_weights()
    assert DEFAULT_WEIGHTS.by_decay() == {1.0: type_weights()}


def test_the_page_is_fresh(repo_root: Path) -> None:
    page = (repo_root / "docs" / "event-types.md").read_text(encoding="utf-8")
    assert page == markdown(), "stale: run `make generate`"
    for t in EVENT_TYPES.values():
        assert f"| `{t.name}` | {t.signal} |" in page
    example = page.split("```toml\n")[1].split("```")[0]
    assert overridden(example, "page").by_decay()[2.0] == {"purchase": 8.0}


# -- overrides ---------------------------------------------------------------------------------------------------------------------
def test_a_file_changes_what_it_names_alone() -> None:
    tables = {"purchase": "base_weight = 8\ndecay = 2.5", "view": "base_weight = 0", "return": "base_weight = -100"}
    text = "".join(f"# ours\n[{name}]\n{said}\n" for name, said in (tables | {"low_rated": "base_weight = -9"}).items())
    found = overridden(text, "site.toml")
    assert found.base == type_weights() | {"purchase": 8.0, "view": 0.0, "return": -100.0, "low_rated": -9.0}
    assert found.decay == {**DEFAULT_WEIGHTS.decay, "purchase": 2.5}
    assert list(found.by_decay()) == [1.0, 2.5]
    assert all(type(v) is float for v in (*found.base.values(), *found.decay.values()))


@pytest.mark.parametrize(
    "text", ["", "# nothing\r\n", "[view]", "[purchase]\nbase_weight = 5\ndecay = 1", 'view = {decay = 1}\n"like".decay = 1.0']
)
def test_what_equals_the_defaults_is_the_defaults(text: str) -> None:
    assert overridden(text, "site.toml") == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    ("text", "decay"),
    [
        ("rating.decay = 2", 2.0),  # the rating would outlive the objection to it
        ("rating.decay = 2\nreview.decay = 4", 4.0),
        ("rating.decay = 0.5", 1.0),
        ("rating.decay = 0.5\nreview.decay = 0.25", 0.5),
        ("rating.decay = 2\nlow_rated.decay = 1", 1.0),
    ],
)
def test_a_low_rating_fades_no_faster_than_what_it_objects_to_unless_told_so(text: str, decay: float) -> None:
    assert overridden(text, "site.toml").decay["low_rated"] == decay


def faults(text: str) -> list[str]:
    with pytest.raises(OverrideError) as caught:
        overridden(text, "site.toml")
    return str(caught.value).split("\n")


KNOWN = f"there are {', '.join(COUNTED_TYPES)}"
FOR, AGAINST = (
    "give a number from 0 to 100, like {:g}: {} speaks for an item",
    "give a number from -100 to 0, like {:g}: {} speaks against an item",
)
ABOVE_0 = "give a number above 0 and at most 10, like 1.0"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\n[purchse]\ndecay = 1", [(2, f"no event type is named 'purchse'; did you mean purchase? {KNOWN}")]),
        ("['Add to-Cart']", [(1, f"no event type is named 'Add to-Cart'; did you mean add_to_cart? {KNOWN}")]),
        ("[zzz]", [(1, f"no event type is named 'zzz'; {KNOWN}")]),
        ("# c\nview = 3", [(2, "view is not a table; write [view], and below it base_weight = 1")]),
        ("[[hide]]\ndecay = 1", [(1, "hide is not a table; write [hide], and below it base_weight = -3")]),
        ("[view]\nbase_wieght = 1", [(2, "[view] has no key 'base_wieght'; did you mean base_weight? there are base_weight, decay")]),
        ("[view.decay]\nx = 1", [(1, f'[view] decay is {{"x": 1}}; {ABOVE_0}')]),
        ("[view]\npolarity = -1", [(2, "[view] polarity is part of the facts and stays; a site sets base_weight and decay")]),
        ("[view]\nsignal = 'explicit'", [(2, "[view] signal is part of the facts and stays; a site sets base_weight and decay")]),
        ("[view]\nbase_weight = true", [(2, f"[view] base_weight is true; {FOR.format(1, 'view')}")]),
        ("[view]\ndecay = true", [(2, f"[view] decay is true; {ABOVE_0}")]),
        ("[view]\ndecay = '2'", [(2, f'[view] decay is "2"; {ABOVE_0}')]),
        ("[view]\ndecay = 2026-03-10", [(2, f'[view] decay is "2026-03-10"; {ABOVE_0}')]),
        ("[view]\ndecay = nan", [(2, f"[view] decay is NaN; {ABOVE_0}")]),
        ("[view]\ndecay = inf", [(2, f"[view] decay is Infinity; {ABOVE_0}")]),
        ("[view]\ndecay = 0", [(2, f"[view] decay is 0; {ABOVE_0}")]),
        ("[view]\ndecay = 1e-999", [(2, f"[view] decay is 0.0; {ABOVE_0}")]),
        ("[view]\ndecay = -1", [(2, f"[view] decay is -1; {ABOVE_0}")]),
        ("[view]\ndecay = 10.5", [(2, f"[view] decay is 10.5; {ABOVE_0}")]),
        ("[view]\nbase_weight = nan", [(2, f"[view] base_weight is NaN; {FOR.format(1, 'view')}")]),
        ("[view]\nbase_weight = 100.5", [(2, f"[view] base_weight is 100.5; {FOR.format(1, 'view')}")]),
        ("[view]\nbase_weight = -0.5", [(2, f"[view] base_weight is -0.5; {FOR.format(1, 'view')}")]),
        ("[return]\nbase_weight = 4", [(2, f"[return] base_weight is 4; {AGAINST.format(-4, 'return')}")]),
        ("[return]\nbase_weight = -inf", [(2, f"[return] base_weight is -Infinity; {AGAINST.format(-4, 'return')}")]),
        ("[low_rated]\nbase_weight = 6", [(2, f"[low_rated] base_weight is 6; {AGAINST.format(-6, 'low_rated')}")]),
        # lines of values that span several, of dotted keys, of inline tables, of tables that come back
        ('[view]\nx = """\n[like]\ndecay = 0\n"""\ndecay = [\n 1,\n]\n', [(2, "no key 'x'"), (6, "decay is [1]")]),
        (
            "like.decay = 0\r\nview.base_weight = 1\r\nlike.base_weight = -1\r\n",
            [(1, "[like] decay is 0"), (3, "[like] base_weight is -1")],
        ),
        ("# c\nshare = {base_weight = -3, decay = 99}", [(2, "[share] base_weight is -3"), (2, "[share] decay is 99")]),
        ("[view]\ndecay = 0\n[like]\ndecay = 2\n[edit]\ndecay = -1\n[nil]", [(2, "[view] decay"), (6, "[edit] decay"), (7, "'nil'")]),
    ],
)
def test_all_faults_are_named_with_line_and_remedy(text: str, wanted: list[tuple[int, str]]) -> None:
    found = faults(text)
    assert len(found) == len(wanted)
    for line, (number, said) in zip(found, wanted, strict=True):
        assert line.startswith(f"site.toml, line {number}: ")
        assert said in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[view]\ndecay = \n[like]", 2),
        ("[view]\ndecay 2", 2),
        ("[view\ndecay = 2", 1),
        ("[view]\n[like]\n[view]\n", 3),
        ("[view]\ndecay = 1\ndecay = 2", 3),
        ('[view]\nx = 1\ny = """\n\n\n', 3),
        ("[view]\ndecay = [\n1,\n2\n", 2),
        (f"[view]\ndecay = 1{'0' * 5000}", 2),
        (f"[view]\nx = 1\ndecay = {'[' * 5000}", 3),
    ],
)
def test_what_is_no_toml_is_named_by_its_line(text: str, line: int) -> None:
    (found,) = faults(text)
    assert found.startswith(f"site.toml, line {line}: not TOML: ")
    assert found.endswith("; write [purchase], and below it decay = 1.0")


# -- the setting -------------------------------------------------------------------------------------------------------------------
def settings(folder: Path, text: str | None = None) -> Settings:
    values: dict[str, object] = {"landing": str(folder / "landing"), "lake": str(folder / "lake"), "user_key_secret": SecretStr("secret")}
    if text is not None:
        (folder / "site.toml").write_text(text, encoding="utf-8")
        values["event_types_file"] = str(folder / "site.toml")
    return Settings(**values)  # type: ignore[arg-type]


def test_the_file_of_a_site(tmp_path: Path) -> None:
    assert settings(tmp_path).event_types is DEFAULT_WEIGHTS
    assert Settings(event_types_file="").event_types is DEFAULT_WEIGHTS
    assert settings(tmp_path, "[view]\ndecay = 0.5").event_types.decay["view"] == 0.5
    assert settings(tmp_path, "\ufeff[view]\ndecay = 0.5").event_types.decay["view"] == 0.5  # as some editors save it
    with pytest.raises(SettingError, match=r"EVENT_TYPES_FILE names .*none, which is not there"):
        _ = Settings(event_types_file=str(tmp_path / "none")).event_types
    (tmp_path / "latin.toml").write_bytes(b"[view]\n# caf\xe9\n")
    with pytest.raises(SettingError, match=r"EVENT_TYPES_FILE: .*latin\.toml, line 2: not UTF-8"):
        _ = Settings(event_types_file=str(tmp_path / "latin.toml")).event_types


@pytest.mark.parametrize(("text", "said"), [(None, "which is not there"), ("[view]\ndecay = 0\n[vew]\n", "line 2: [view] decay is 0")])
def test_a_wrong_file_is_wrong_usage_before_any_job_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text:
        Path("site.toml").write_text(text)
    Path("landing/events/ds=2026-03-10").mkdir(parents=True)
    for name, value in {"LANDING": "landing", "LAKE": "lake", "USER_KEY_SECRET": "secret", "EVENT_TYPES_FILE": "site.toml"}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["night", "--ds", "2026-03-10"])
    assert result.exit_code == 2
    assert "EVENT_TYPES_FILE" in result.output
    assert said in result.output
    assert (text is None) or "line 3: no event type is named 'vew'; did you mean view?" in result.output
    assert not Path("lake").exists()


# -- staleness ---------------------------------------------------------------------------------------------------------------------
def stamps(made: Runner) -> dict[str, str]:
    """Input hash of every nightly job of D."""
    return {job: made.stamp(job, D, None, {}).input_hash for job in NIGHTLY}


def test_other_weights_make_those_jobs_stale_that_weigh(tmp_path: Path) -> None:
    plain = Runner(settings(tmp_path))
    (tmp_path / "landing/events/ds=2026-03-10").mkdir(parents=True)
    for name, table in TABLES.items():
        if table.lake:
            parts = {p: {"embedding_space": space_of(plain.settings.encoder)}.get(p, "none") for p in table.partition if p != "ds"}
            plain.lake.write(name, D, empty(table), Stamp("by-hand", "h"), **parts)
    before = stamps(plain)
    assert stamps(Runner(settings(tmp_path, "# as it ships\n[view]\nbase_weight = 1"))) == before
    changed = {}
    for text in ("[view]\nbase_weight = 2", "[view]\ndecay = 2", "[low_rated]\nbase_weight = -7"):
        found = stamps(Runner(settings(tmp_path, text)))
        assert {job for job in NIGHTLY if found[job] != before[job]} == {"profile", "expand", "recommend", "evaluate", "audit"}, text
        changed[text] = found["profile"]
    assert len(set(changed.values())) == 3


def test_who_weighs_without_declaring_it_is_stopped(tmp_path: Path) -> None:
    made = Runner(settings(tmp_path))
    night = Night(made, "annotate", D, None, Stamp("r", "h"), {})
    with pytest.raises(LakeError, match="job annotate does not declare the setting event_types"):
        _ = night.event_types
    weighing = {"profile", "expand", "recommend", "evaluate", "audit", "fit_event_weights", "fit_ranker"}
    assert {job for job, spec in JOBS.items() if "event_types" in spec.settings} == weighing


def count(night: Night) -> None:
    night.write("user_item_day", empty(TABLES["user_item_day"]))


def weigh(night: Night) -> None:
    row = {"ds": night.ds, "segment": "all", "user_key": "u", "score": night.event_types.base["view"], "reason": ""}
    night.write("user_segment", pa.Table.from_pylist([row], schema=TABLES["user_segment"].arrow_schema()))


SMALL = {
    "count": Job(f"{__name__}:count", {"landing": 1}, ("user_item_day",), "python", "facts", "counts"),
    "weigh": Job(f"{__name__}:weigh", {"user_item_day": 1}, ("user_segment",), "python", "lists", "weighs", settings=("event_types",)),
}


def test_a_changed_file_runs_again_what_weighs_and_no_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((jobs, "NIGHTLY"), (running, "NIGHTLY"), (running, "JOBS"), (planning, "NIGHTLY")):
        monkeypatch.setattr(module, name, SMALL)
    (tmp_path / "landing/events/ds=2026-03-10").mkdir(parents=True)

    def ran(text: str | None) -> tuple[list[str], float]:
        """(jobs that were not up to date, the weight that is in the lake now)"""
        said: list[str] = []
        made = Runner(settings(tmp_path, text), said.append)
        planned = [line.split()[1][:-1] for line in made.plan(D, D) if line.startswith("2026") and "up to date" not in line]
        made.night(D, SMALL)
        done = [line.split()[1][:-1] for line in said if not line.endswith("up to date")]
        assert planned == done
        return done, made.lake.read("user_segment", [D])["score"].to_pylist()[0]

    assert ran(None) == (["count", "weigh"], 1.0)
    assert ran("# nothing\n") == ([], 1.0)
    assert ran("[view]\nbase_weight = 0.5") == (["weigh"], 0.5)
    assert ran("[view]\nbase_weight = 0.50 # the same\n\n[like]\nbase_weight = 3") == ([], 0.5)
    assert ran("[view]\nbase_weight = 0.5\ndecay = 3") == (["weigh"], 0.5)
    assert ran(None) == (["weigh"], 1.0)
