"""Views, the stored questions and the roles over a literal published shop of two users, on both engines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from recsys_core.tables import tables_sql
from recsys_core.warehouse import SQL, NightTables, Warehouse, connect
from tests.test_warehouse import DAY, MODEL, UTC, fresh_database, interest, models, night, row, slot, table

ONE = dt.timedelta(days=1)
QUESTIONS = sorted((SQL / "queries").glob("*.sql"))


def outcome(ds: dt.date, user: str, rank: int, item: str, event_type: str) -> dict[str, Any]:
    return row(
        ds=ds,
        list_ds=DAY,
        user_key=user,
        list_name="for_you",
        variant="default",
        rank=rank,
        item_id=item,
        event_type=event_type,
        source="content",
        exploration=False,
        n_events=3,
    )


def edge(ds: dt.date, src: int, dst: int, weight: float, n_users: int, relation: str = "transition") -> dict[str, Any]:
    return row(ds=ds, src_topic_id=src, dst_topic_id=dst, relation=relation, directed=True, n_users=n_users, weight=weight, lift=weight * 4)


def metric(slice_dim: str, slice_value: str, diff: float | None, low: float | None, high: float | None, **other: Any) -> dict[str, Any]:
    value = 0.2 + (diff or 0)
    return {
        **row(
            ds=DAY,
            subject="recommender",
            model_version="blend-1",
            list_name="for_you",
            variant="default",
            slice_dim=slice_dim,
            slice_value=slice_value,
            metric="recall",
            k=10,
            baseline="popularity",
            value=value,
            ci_low=value - 0.1,
            ci_high=value + 0.1,
            n=50,
            baseline_value=0.2,
            diff=diff,
            diff_ci_low=low,
            diff_ci_high=high,
        ),
        **other,
    }


def shop() -> list[NightTables]:
    """Fourteen nights before DAY, DAY itself, and the two nights after."""
    before, after, last = DAY - 14 * ONE, DAY + ONE, DAY + 2 * ONE
    u1 = ((1, "90d", 0.6, 1), (2, "90d", 0.4, 2), (11, "7d", 0.9, 1), (1, "7d", 0.1, 2))
    u2 = ((11, "90d", 0.2, 2), (2, "90d", 0.8, 1), (11, "7d", 0.5, 2), (2, "7d", 0.5, 1))
    interests = [interest(DAY, user, *one) for user, held in (("u1", u1), ("u2", u2)) for one in held]
    lists = [slot(DAY, "u1", 1, "i1"), slot(DAY, "u1", 2, "i2"), slot(DAY, "u2", 1, "i1")]
    lists += [slot(DAY, "u1", 3, "i3", exploration=True, reason_code="explore")]
    metrics = [
        metric("all", "", 0.3, 0.2, 0.4),
        metric("lang", "zh", -0.1, -0.2, -0.05),
        metric("lang", "en", 0.1, -0.1, 0.3),
        metric("lang", "other", None, None, None),
        metric("all", "", 0.9, 0.8, 1.0, metric="ndcg"),
        metric("all", "", 0.9, 0.8, 1.0, baseline=""),
    ]
    today = {
        "user_interest": table("user_interest", interests),
        "user_topn": table("user_topn", lists),
        "interest_edge": table("interest_edge", [edge(DAY, 1, 2, 0.5, 8), edge(DAY, 2, 1, 0.25, 4), edge(DAY, 1, 2, 9.0, 9, "cooccur")]),
        "eval_metric": table("eval_metric", metrics),
        "experiment_metric": table(
            "experiment_metric",
            [
                row(ds=DAY, experiment=e, variant=v, metric=m, value=value, ci_low=low, ci_high=high, n=9, sample_ratio_p=p)
                for e, v, m, value, low, high, p in (
                    ("varied", "as_before", "hit_rate_10", 0.2, 0.1, 0.3, 0.5),
                    ("varied", "bold", "hit_rate_10", 0.5, 0.4, 0.6, 0.5),
                    ("varied", "bold", "hit_rate_10_diff", 0.3, 0.15, 0.45, 0.5),
                    ("varied", "bold", "return_7d", 0.5, 0.4, 0.6, 0.5),
                    ("varied", "bold", "return_7d_diff", 0.1, -0.1, 0.3, 0.5),
                    ("wrong", "b", "hit_rate_10", 0.5, 0.4, 0.6, 0.0001),
                    ("wrong", "b", "hit_rate_10_diff", 0.3, 0.2, 0.4, 0.0001),
                )
            ],
        ),
    }
    # u1 touched i1 on both nights (one slot consumed, not two) and hid i2; u2 touched nothing.
    first = [outcome(after, "u1", 1, "i1", "view"), outcome(after, "u1", 1, "i1", "click"), outcome(after, "u1", 2, "i2", "hide")]
    second = [outcome(last, "u1", 1, "i1", "purchase"), outcome(last, "u1", 3, "i3", "view")]
    changes = [
        row(ds=after, user_key=u, topic_id=t, change=c, share_prev=p, share_now=n, z=4.0, slope=0.1, compared_ds=DAY)
        for u, t, c, p, n in (
            ("u1", 11, "rising", 0.2, 0.7),
            ("u1", 1, "new", 0.0, 0.1),
            ("u2", 11, "falling", 0.5, 0.1),
            ("u3", 2, "rising", 0.1, 0.9),
        )
    ]
    return [
        night(before, {"interest_edge": table("interest_edge", [edge(before, 1, 2, 0.125, 2), edge(before, 2, 11, 0.0625, 1)])}),
        night(DAY, today),
        night(after, {"topn_outcome": table("topn_outcome", first), "user_interest_change": table("user_interest_change", changes)}),
        night(
            last,
            {
                "topn_outcome": table("topn_outcome", second),
                "user_interest": table("user_interest", [interest(last, "u1", *one) for one in u1]),
            },
        ),
    ]


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The shop, published."""
    if request.param == "duckdb":
        url = f"duckdb:///{tmp_path_factory.mktemp('sql')}/w.duckdb"
    else:
        url = fresh_database(request.getfixturevalue("postgres_url"), "six_questions")
    trained = models(train_to=DAY - 20 * ONE)
    with connect(url) as opened:
        opened.publish_nights(shop(), trained)
        yield opened


def ask(warehouse: Warehouse, number: int, **params: Any) -> list[dict[str, Any]]:
    return warehouse.query(QUESTIONS[number - 1].read_text(encoding="utf-8"), params).to_pylist()


def picked(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(round(r[n], 9) if isinstance(r[n], float) else r[n] for n in names) for r in rows]


def test_generated_ddl_is_fresh() -> None:
    assert (SQL / "tables.sql").read_text(encoding="utf-8") == tables_sql()


def test_each_question_says_its_parameters() -> None:
    assert [path.name[0] for path in QUESTIONS] == list("12345678")
    for path in QUESTIONS:
        head = "".join(line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("--"))
        assert "?" in head, path.name
        assert ":" in head, path.name


def test_1_who_is_this_user(warehouse: Warehouse) -> None:
    rows = ask(warehouse, 1, user_key="u1")
    assert picked(rows, "ds", "horizon", "rank", "topic_id", "label_en", "label_zh", "share") == [
        (DAY + 2 * ONE, "90d", 1, 1, "games", "游戏", 0.6),
        (DAY + 2 * ONE, "90d", 2, 2, "tea", "茶", 0.4),
        (DAY + 2 * ONE, "7d", 1, 11, "chess", "国际象棋", 0.9),
        (DAY + 2 * ONE, "7d", 2, 1, "games", "游戏", 0.1),
    ]
    assert rows[0]["evidence"] == '{"items":[{"item_id":"i1","n_events":2,"weight":2.0}],"rest":0.5}'
    assert (rows[0]["lifecycle"], rows[0]["lift"], rows[0]["confidence"], rows[0]["model_version"]) == ("active", 1.5, 0.5, MODEL)
    assert ask(warehouse, 1, user_key="nobody") == []


def test_2_what_did_we_believe(warehouse: Warehouse) -> None:
    rows = ask(warehouse, 2, user_key="u2", ds=DAY, time_zone="UTC")
    assert picked(rows, "horizon", "rank", "topic_id", "share", "train_to", "generation", "free_of_future") == [
        ("90d", 1, 2, 0.8, DAY - 20 * ONE, 1, True),
        ("90d", 2, 11, 0.2, DAY - 20 * ONE, 1, True),
        ("7d", 1, 2, 0.5, DAY - 20 * ONE, 1, True),
        ("7d", 2, 11, 0.5, DAY - 20 * ONE, 1, True),
    ]
    assert rows[0]["event_cutoff_ts"] == dt.datetime(2024, 3, 10, tzinfo=UTC)
    # Where the night ends eight hours earlier, a cut at midnight UTC lets the future in.
    assert not any(r["free_of_future"] for r in ask(warehouse, 2, user_key="u2", ds=DAY, time_zone="Asia/Shanghai"))
    assert all(r["free_of_future"] for r in ask(warehouse, 2, user_key="u2", ds=DAY, time_zone="America/New_York"))
    # Such a model could not be published with the night, but the question would tell.
    warehouse.publish_models({"model_version": models(train_to=DAY + ONE)["model_version"]})
    assert not any(r["free_of_future"] for r in ask(warehouse, 2, user_key="u2", ds=DAY, time_zone="UTC"))
    warehouse.publish_models({"model_version": models(train_to=DAY - 20 * ONE)["model_version"]})


def test_3_whose_interest_is_rising(warehouse: Warehouse) -> None:
    # By the change table where it is filled: topic 1 has the child 11; falling and other topics stay out.
    assert picked(ask(warehouse, 3, topic_id=1, ds=DAY + ONE), "user_key", "share_before", "share_now", "gain", "judged_by") == [
        ("u1", 0.2, 0.8, 0.6, "change")
    ]
    # Else by 7 days against 90: u1 has 0.6 → 0.9 + 0.1, u2 0.2 → 0.5.
    assert picked(ask(warehouse, 3, topic_id=1, ds=DAY), "user_key", "share_before", "share_now", "gain", "judged_by") == [
        ("u1", 0.6, 1.0, 0.4, "7d over 90d"),
        ("u2", 0.2, 0.5, 0.3, "7d over 90d"),
    ]
    assert ask(warehouse, 3, topic_id=2, ds=DAY) == []


def test_4_did_lists_get_consumed(warehouse: Warehouse) -> None:
    assert picked(
        ask(warehouse, 4, ds=DAY),
        "list_name",
        "variant",
        "source",
        "exploration",
        "n_slots",
        "n_consumed_next_night",
        "n_consumed",
        "share_consumed",
        "nights_observed",
    ) == [("for_you", "default", "content", False, 3, 1, 1, round(1 / 3, 9), 2), ("for_you", "default", "content", True, 1, 0, 1, 1.0, 2)]


def test_5_where_interests_go_next(warehouse: Warehouse) -> None:
    names = ("src_label_en", "dst_label_en", "weight_now", "weight_then", "weight_change", "n_users_now", "n_users_then", "lift_now")
    assert picked(ask(warehouse, 5, ds=DAY), *names) == [
        ("games", "tea", 0.5, 0.125, 0.375, 8, 2, 2.0),
        ("tea", "games", 0.25, 0.0, 0.25, 4, 0, 1.0),
        ("tea", "chess", 0.0, 0.0625, -0.0625, 0, 1, None),
    ]


def test_6_better_than_popularity(warehouse: Warehouse) -> None:
    rows = ask(warehouse, 6, ds=DAY, metric="recall", k=10)
    assert picked(rows, "slice_dim", "slice_value", "value", "baseline_value", "diff", "diff_ci_low", "diff_ci_high", "verdict") == [
        ("lang", "zh", 0.1, 0.2, -0.1, -0.2, -0.05, "worse"),
        ("lang", "en", 0.3, 0.2, 0.1, -0.1, 0.3, "not settled"),
        ("all", "", 0.5, 0.2, 0.3, 0.2, 0.4, "better"),
        ("lang", "other", 0.2, 0.2, None, None, None, "not settled"),
    ]


def test_7_who_holds_this_topic(warehouse: Warehouse) -> None:
    def held(topic: int, horizon: str, least: float) -> list[tuple[Any, ...]]:
        asked = {"topic_id": topic, "ds": DAY, "horizon": horizon, "min_share": least}
        return picked(ask(warehouse, 7, **asked), "user_key", "share", "n_topics")

    assert held(1, "90d", 0.2) == [("u1", 0.6, 1), ("u2", 0.2, 1)]  # u1's games, u2's chess below it
    assert held(1, "7d", 0.95) == [("u1", 1.0, 2)]
    assert held(11, "90d", 0.3) == []


def test_8_which_variant_is_better(warehouse: Warehouse) -> None:
    assert picked(ask(warehouse, 8, ds=DAY), "experiment", "metric", "variant", "value", "diff", "diff_ci_low", "verdict") == [
        ("varied", "hit_rate_10", "as_before", 0.2, None, None, ""),
        ("varied", "hit_rate_10", "bold", 0.5, 0.3, 0.15, "higher"),
        ("varied", "return_7d", "bold", 0.5, 0.1, -0.1, "not settled"),
        ("wrong", "hit_rate_10", "b", 0.5, 0.3, 0.2, "not to be believed"),
    ]
    assert ask(warehouse, 8, ds=DAY + ONE) == []


def test_views_show_the_last_night(warehouse: Warehouse) -> None:
    rows = warehouse.query("SELECT ds, user_key, rank, item_id FROM user_topn_now ORDER BY user_key, rank").to_pylist()
    assert picked(rows, "ds", "user_key", "rank", "item_id") == [
        (DAY + 2 * ONE, "*", 1, "i3"),
        (DAY + 2 * ONE, "u1", 1, "i1"),
        (DAY + 2 * ONE, "u1", 2, "i2"),
    ]
    above = warehouse.query("SELECT * FROM user_interest_by_parent ORDER BY user_key, horizon DESC, topic_id").to_pylist()
    assert picked(above, "user_key", "horizon", "topic_id", "share", "n_topics", "label_zh") == [
        ("u1", "90d", 1, 0.6, 1, "游戏"),
        ("u1", "90d", 2, 0.4, 1, "茶"),
        ("u1", "7d", 1, 1.0, 2, "游戏"),
    ]
    profiles = warehouse.query("SELECT user_key, top_label_en FROM user_profile_now ORDER BY user_key").to_pylist()
    assert picked(profiles, "user_key", "top_label_en") == [("u1", "games"), ("u2", None), ("u3", None)]
    assert warehouse.query("SELECT count(*) AS n FROM published_status WHERE age_days < 1").to_pylist() == [{"n": 0}]
