"""`python -m benchmarks topn` on tiny files: ids, lists, refusals, and that automatic selection keeps what is best."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from benchmarks import report, topn, topn_table
from benchmarks.interactions import BadFile, read_interactions, read_sequences
from recsys_core.recommenders import Interactions, mixing
from recsys_core.recommenders.base import Recommender
from recsys_core.recommenders.holdout import cut, lists
from recsys_core.recommenders.mixture import Mixture
from recsys_core.recommenders.selection import choose

QUICK = ["transitions", "popularity", "item_knn", "ease"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without neural recommenders: what is tried does not matter here."""
    monkeypatch.setattr(topn, "candidates", lambda: QUICK)


def run(folder: Path, text: str | bytes, *options: str, kind: str = "sequences", model: str = "transitions") -> Result:
    """The command on a file of this text; lists lie in `folder`/recs.parquet."""
    path = folder / "given.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CliRunner().invoke(topn.main, [f"--{kind}", str(path), "--model", model, "--out", str(folder / "recs.parquet"), *options])


def found(folder: Path, result: Result) -> dict[object, list[object]]:
    """Items of each user by rank, after checking the columns."""
    assert result.exit_code == 0, result.output
    table = pq.read_table(folder / "recs.parquet")
    assert table.column_names == ["user", "item", "rank", "score"]
    recs: dict[object, list[object]] = {}
    for user, item, rank, score in zip(*(c.to_pylist() for c in table.columns), strict=True):
        recs.setdefault(user, []).append(item)
        assert rank == len(recs[user])
        assert 0 <= score <= 1
    return recs


def ring(users: int = 60, items: int = 12, length: int = 6) -> str:
    """Each user walks along the items: after item i comes item i + 1."""
    return "\n".join(" ".join([f"u{u}", *(f"i{(u + step) % items:02}" for step in range(length))]) for u in range(users))


# -- ids and lists ---------------------------------------------------------------------------------------------------------------------
def test_lists_are_full_without_what_was_met_and_ids_come_out_as_they_came_in(tmp_path: Path) -> None:
    recs = found(tmp_path, run(tmp_path, "7 10 20\n3 20 30\n12 30\n", "--k", "2"))
    assert recs == {3: [10], 7: [30], 12: [10, 20]} or recs == {3: [10], 7: [30], 12: [20, 10]}
    assert pq.read_table(tmp_path / "recs.parquet").schema.field("user").type == pa.int64()
    recs = found(tmp_path, run(tmp_path, "007 a b\nüser b 中\n", "--k", "5"))
    assert recs == {"007": ["中"], "üser": ["a"]}
    recs = found(tmp_path, run(tmp_path, "1 a b\n2 b c\n", "--k", "3", "--allow-seen"))
    assert {user: sorted(map(str, items)) for user, items in recs.items()} == {1: ["a", "b", "c"], 2: ["a", "b", "c"]}
    # what follows is first; repeats in a line are history as well
    assert found(tmp_path, run(tmp_path, ring(), "--k", "3"))["u0"][0] == "i06"
    assert found(tmp_path, run(tmp_path, "a x y x y\nb x\nc z\n"))["b"] == ["y", "z"]


def test_users_without_a_history_or_unknown_get_what_is_popular(tmp_path: Path) -> None:
    text = "new\n\n1 a b\n2 b\n\n3 b c\n4 a\n"
    recs = found(tmp_path, run(tmp_path, text, "--k", "2"))
    assert recs["new"] == ["b", "a"]
    assert len(recs) == 5
    (tmp_path / "users.txt").write_text("3\nnobody\n")
    recs = found(tmp_path, run(tmp_path, text, "--k", "2", "--users", str(tmp_path / "users.txt")))
    assert recs == {"3": ["a"], "nobody": ["b", "a"]}


@pytest.mark.parametrize("model", ["transitions", "popularity", "auto"])
def test_a_history_of_ten_thousand_items_and_one_of_one(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topn, "candidates", lambda: QUICK[:2])
    text = f"many {' '.join(f'i{n}' for n in range(10_000))}\none i5\nother i5 i6 unmet\n"
    recs = found(tmp_path, run(tmp_path, text, "--k", "4", model=model))
    assert recs["many"] == ["unmet"]
    assert len(recs["one"]) == len(set(recs["one"])) == 4
    assert "i5" not in recs["one"]


# -- files that cannot be read -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("sequences", "", "no users"),
        ("sequences", "\n \n", "no users"),
        ("sequences", "1\n2\n", "no items"),
        ("sequences", "1 a\n2 b\n1 c\n", "given.txt:3: user 1 stands on line 1, too"),
        ("sequences", b"1 a\n2 \xff\n", "given.txt:2: not UTF-8"),
        ("interactions", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n", "no interactions"),
        ("interactions", "1\t2\t3\n", "given.txt:1: 3 fields apart by tabs, 4 expected"),
        ("interactions", "1\t2\t3\t4\n1\t2\tgood\t4\n", "given.txt:2: rating 'good' is no number"),
        ("interactions", "1\t2\t3\tnan\n", "given.txt:1: timestamp 'nan' is no number"),
        ("interactions", "1\t\t3\t4\n", "given.txt:1: empty item"),
    ],
)
def test_bad_files_are_told_by_line_and_nothing_is_written(tmp_path: Path, kind: str, text: str | bytes, told: str) -> None:
    result = run(tmp_path, text, kind=kind)
    assert result.exit_code == 2
    assert told in re.sub(r"\s+", " ", result.output)
    assert not (tmp_path / "recs.parquet").exists()


def test_usage_errors(tmp_path: Path) -> None:
    for options, told in (
        (["--interactions", str(tmp_path / "given.txt")], "one of --sequences and --interactions"),
        (["--model", "content"], "content needs the texts of items"),
        (["--model", "magic"], "no recommender is named 'magic'"),
        (["--out", str(tmp_path / "no" / "x.parquet")], "make it first"),
        (["--model", "auto", "--validation", "time"], "of one night"),
    ):
        result = run(tmp_path, ring(), *options)
        assert result.exit_code == 2
        assert told in re.sub(r"\s+", " ", result.output)


# -- interactions ------------------------------------------------------------------------------------------------------------------------
def test_interactions_with_and_without_names_and_in_any_order_of_columns(tmp_path: Path) -> None:
    rows = [("9", "x", "4", "90000"), ("9", "y", "1", "100"), ("10", "y", "5", "200")]
    path = tmp_path / "given.txt"
    logs = []
    named = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    other = "timestamp\titem\tuser\textra\trating"
    for header, order in ((None, (0, 1, 2, 3)), (named, (0, 1, 2, 3)), (other, (3, 1, 0, 0, 2))):
        path.write_text("".join(f"{line}\n" for line in [header, *("\t".join(r[i] for i in order) for r in rows)] if line))
        logs.append(read_interactions(path))
    for log in logs:
        assert log.users.to_pylist() == [9, 10]
        assert log.items.to_pylist() == ["x", "y"]
        history = log.history()
        assert (history.user.tolist(), history.item.tolist()) == ([0, 0, 1], [1, 0, 1])
        assert history.age.tolist() == [1, 0, 1]
        assert history.weight.tolist() == pytest.approx(np.array([1, 4, 5]) / (10 / 3))
    path.write_text("1\ta\t0\t1700000000000\n1\tb\t0\t1700086400000\n")
    assert read_interactions(path).history().age.tolist() == [1, 0]
    path.write_text("".join(f"1\t{n}\n" for n in range(9)))
    with pytest.raises(BadFile, match=r"given.txt:5: 2 fields[^:]*\nand 4 lines more"):
        read_interactions(path)


# -- automatic selection -----------------------------------------------------------------------------------------------------------------
def test_auto_prints_a_table_whose_best_row_is_chosen_and_repeats_itself(tmp_path: Path) -> None:
    results, files = [], []
    for _ in range(2):
        results.append(run(tmp_path, ring(), "--seed", "3", model="auto"))
        assert results[-1].exit_code == 0, results[-1].output
        files.append((tmp_path / "recs.parquet").read_bytes())
    assert files[0] == files[1]
    rows = [line.split(" | ") for line in results[0].output.splitlines() if line.startswith("| ")][1:]
    figures = [float(r[1]) for r in rows if r[1]]
    assert rows[0][0].startswith("| **")
    assert figures == sorted(figures, reverse=True)
    assert len(rows) > len(QUICK)
    assert figures[0] > 0.9  # the ring is found
    assert re.search(r"fit [\d.]+ s, recommend [\d.]+ s", results[0].output)
    tried = [f"chosen: {row[0].strip('| *')}" in results[0].output for row in rows]
    assert tried.index(True) == 0
    short = run(tmp_path, ring(), "--budget-s", "0", model="auto")
    assert "left out, 0 s being too short" in short.output


def halves(seed: int = 0) -> Interactions:
    """Half of the users walk along a ring of 20 items, the others choose among 20 others by taste: no single recommender suits both."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(400), 7)
    place = np.tile(np.arange(7), 400)
    taste = np.concatenate([20 + 10 * (u % 2) + rng.permutation(10)[:7] for u in range(200, 400)])
    item = np.r_[(np.repeat(rng.integers(0, 20, 200), 7) + place[:1400]) % 20, taste]
    return Interactions.of(user, item, np.ones(len(user)), np.zeros(len(user), int), place, 400, 40)


def test_auto_is_never_below_its_best_single_model_and_finds_the_signal() -> None:
    ticks = iter(range(10_000))
    history = halves()
    chosen = choose(history, QUICK, "last", 0.25, 0, 1e9, lambda: float(next(ticks)))
    singles = [t for t in chosen.trials if len(t.parts) == 1]
    assert chosen.best.mean("ndcg", True) == max(t.mean("ndcg", True) for t in chosen.trials)
    assert chosen.best.mean("ndcg", True) >= max(t.mean("ndcg", False) for t in singles)  # 400 users: the first sample is everybody
    assert all(t.mean("ndcg", True) in (-1, pytest.approx(t.mean("ndcg", False), abs=1e-4)) for t in singles)
    assert not chosen.left_out
    again = choose(history, QUICK, "last", 0.25, 0, 1e9, lambda: 0.0)
    assert [(t.name, t.mean("ndcg", True)) for t in again.trials] == [(t.name, t.mean("ndcg", True)) for t in chosen.trials]
    # rows in any order, the same choice
    order = np.random.default_rng(1).permutation(len(history.user))
    shuffled = Interactions.of(
        history.user[order], history.item[order], history.weight[order], history.age[order], np.tile(np.arange(7), 400)[order], 400, 40
    )
    assert choose(shuffled, QUICK, "last", 0.25, 0, 1e9, lambda: 0.0).best.parts == chosen.best.parts
    # what the signal gave goes with it
    noise = Interactions.of(
        history.user, np.random.default_rng(2).permutation(history.item), history.weight, history.age, np.tile(np.arange(7), 400), 400, 40
    )
    lost = choose(noise, QUICK, "last", 0.25, 0, 1e9, lambda: 0.0)
    assert lost.best.mean("ndcg", True) < 0.5 * chosen.best.mean("ndcg", True)


def test_a_mixture_takes_what_complements_and_no_noise() -> None:
    """One source knows the even users' item, one the odd users'; a third says anything."""
    rng = np.random.default_rng(0)
    relevant = np.zeros((400, 30), bool)
    relevant[np.arange(400), rng.integers(0, 30, 400)] = True
    even = np.arange(400)[:, None] % 2 == 0
    sources = [0.6 * (relevant & even), 0.5 * (relevant & ~even), rng.random((400, 30))]
    share = np.stack([np.maximum(s, 0.4 * rng.random((400, 30))) for s in sources], axis=2).astype(np.float32)
    items = np.tile(np.arange(30), (400, 1))
    found = mixing.Proposals(items, share, np.zeros((400, 30), np.float32), relevant, np.ones(400, np.int64))
    weights, power = mixing.weights(found, 0)
    assert power in mixing.POWERS
    assert weights.sum() == pytest.approx(1)
    assert weights[2] < 0.05 < 0.2 < weights[:2].min()
    alone = [found.metrics(unit)["ndcg"].mean() for unit in np.eye(3)]
    assert found.raised(power).metrics(weights)["ndcg"].mean() > max(alone) + 0.1
    permuted = found.of([0, 1, 2])
    permuted.share[:, :, 1] = permuted.share[rng.permutation(400), :, 1]
    weights, power = mixing.weights(permuted, 0)
    assert permuted.raised(power).metrics(weights)["ndcg"].mean() < max(alone) + 0.05


def test_auto_begins_nothing_that_the_budget_does_not_bear() -> None:
    """A clock that goes on by 1 s a look: a set takes 2 s."""
    for budget, most in ((0.0, 1), (20.0, 5)):
        ticks = iter(range(10_000))
        chosen = choose(halves(), QUICK, "last", 0.25, 0, budget, lambda: float(next(ticks)))  # noqa: B023
        assert 1 <= len(chosen.trials) <= most
        assert chosen.left_out
    nobody = Interactions.of(np.array([0, 1]), np.array([0, 1]), np.ones(2), np.zeros(2, int), np.zeros(2, int), 2, 3)
    chosen = choose(nobody, QUICK, "last", 0.25, 0, 10, lambda: 0.0)
    assert (chosen.n_users, chosen.best.name) == (0, "transitions")


def test_cuts() -> None:
    history = halves()
    last = cut(history, "last", 0, 0)
    assert len(last.item) == len(last.users) == 400
    assert len(last.known.user) == 2400
    assert last.item.tolist() == history.item[6::7].tolist()
    quarter = cut(history, "random", 0.25, 0)
    sizes = np.bincount(history.item)
    assert np.bincount(quarter.known.item).tolist() == np.round(0.75 * sizes).tolist()
    assert np.array_equal(quarter.item, cut(history, "random", 0.25, 0).item)
    dated = Interactions.of(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]), np.ones(4), np.array([9, 2, 5, 0]), np.arange(4), 2, 2)
    newest = cut(dated, "time", 0.5, 0)
    assert newest.known.age.tolist() == [6, 2]
    assert (newest.row.tolist(), newest.item.tolist()) == ([0, 1], [1, 0])
    repeated = Interactions.of(np.array([0, 0]), np.array([1, 1]), np.ones(2), np.zeros(2, int), np.arange(2), 1, 2)
    assert not len(cut(repeated, "last", 0, 0).users)
    assert len(cut(repeated, "last", 0, 0, allow_seen=True).users) == 1


# -- mixture -----------------------------------------------------------------------------------------------------------------------------
def test_a_mixture_adds_up_says_whose_evidence_it_is_and_is_saved() -> None:
    history = halves()
    parts = [("transitions", {"window": 3}, 0.6), ("item_knn", {}, 0.4)]
    mixture = Mixture(parts).fit(history)
    users = np.array([3, 250])
    alone = [Mixture([(name, p, 1.0)]).fit(history) for name, p, _ in parts]
    assert mixture.scores(users) == pytest.approx(0.6 * alone[0].scores(users) + 0.4 * alone[1].scores(users))
    roots = Mixture(parts, 0.5).fit(history)
    assert roots.scores(users) == pytest.approx(0.6 * alone[0].scores(users) ** 0.5 + 0.4 * alone[1].scores(users) ** 0.5)
    assert Mixture.load(roots.save()).power == 0.5
    items = lists(mixture, history, users, 3)[0][:, 0]
    said = [source.evidence(users, items) for source in alone]
    assert all(e in {said[0][n], said[1][n]} for n, e in enumerate(mixture.evidence(users, items)))
    assert all(history.seen()[u, e] for u, e in zip(users, mixture.evidence(users, items), strict=True))
    loaded: Recommender = Mixture.load(mixture.save())
    assert np.array_equal(loaded.about(history).scores(users), mixture.scores(users))
    assert loaded.parameters == mixture.parameters
    reverse = np.arange(40)[::-1].copy()
    moved = Interactions.of(history.user, reverse[history.item], history.weight, history.age, np.tile(np.arange(7), 400), 400, 40)
    assert mixture.recoded(reverse, 40).about(moved).scores(users)[:, ::-1] == pytest.approx(mixture.scores(users))
    assert mixture.similar(np.array([1])).shape == (1, 40)


# -- tables ------------------------------------------------------------------------------------------------------------------------------
def test_the_split_of_the_published_protocol_follows_the_order_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "f").write_text("".join(f"{u}\t{i}\t3\t{t}\n" for t, (u, i) in enumerate(rng.integers(0, 20, (200, 2)).tolist())))
    log = read_interactions(tmp_path / "f")
    draw = np.random.RandomState(42).rand(200)
    kept: list[np.int64] = []
    for i in range(20):
        rows = sorted(np.flatnonzero(log.item == i), key=lambda r: draw[r])
        kept += rows[: round(0.75 * len(rows))]
    known = topn_table.quarter_by_item(log).known
    assert sorted(zip(known.user, known.item, strict=True)) == sorted(zip(log.user[kept], log.item[kept], strict=True))
    (tmp_path / "s").write_text(ring())
    test = topn_table.last_items(read_sequences(tmp_path / "s"))
    assert (len(test.users), len(test.known.user)) == (60, 300)


def test_report_replaces_its_sections_alone_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs.md"
    docs.write_text("# by hand\n<!-- topn-speed -->\nold\n<!-- /topn-speed -->\nmore\n")
    monkeypatch.setattr(topn_table, "main", click.Command("x", callback=lambda: click.echo("1 user\n\n| a |\n|---|\n| 1 |\n")))
    monkeypatch.setitem(report.SECTIONS, "topn-speed", report.Section("no time", (("", "topn-table"), ("Again", "topn-table"))))
    arguments = ["--data", str(tmp_path), "--docs", str(docs), "--only"]
    result = CliRunner().invoke(report.main, [*arguments, "topn-speed"])
    assert result.exit_code == 0, result.output
    table = "| a |\n|---|\n| 1 |"
    assert (
        docs.read_text() == f"# by hand\n<!-- topn-speed -->\n\n{table}\n\nAgain (`topn-table`):\n\n{table}\n\n<!-- /topn-speed -->\nmore\n"
    )
    for only, told in (("what", "no section is named what"), ("topics", "no section <!-- topics -->")):
        refused = CliRunner().invoke(report.main, [*arguments, only])
        assert refused.exit_code == 2
        assert told in re.sub(r"\s+", " ", refused.output)
    docs.write_text("<!-- topn-beauty -->\n<!-- /topn-beauty -->\n")
    assert "topn-beauty needs DIR/bench" in CliRunner().invoke(report.main, [*arguments, "topn-beauty"]).output
