"""The pipeline on one page: what each job reads and writes. DAG edges, stages, look-back checks and skips all follow from here.

`reads` gives for each table how many nights back from ds, ds included, a job looks (1 = tonight only, ALL = every landed night);
`landing` stands for the raw files, `accepted` for the checks of the night that somebody accepted, `text_head`, `event_weights`,
`forecast_model` and `ranker` for the trained head, the fitted weights of event types, the forecast and the coefficients of the lists that
are valid for the night, `experiments` for those of the site that run on these nights. Importing this loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

ALL = 36_500
FOUR_WEEKS = 28
WINDOW = 90
YEAR = 365
# Inputs that are no tables of the lake.
OUTSIDE = ("landing", "accepted", "text_head", "event_weights", "forecast_model", "ranker", "experiments")

Runtime = Literal["spark", "torch", "python"]


@dataclass(frozen=True)
class Job:
    """One step. `run` is 'module:function'; the function's keyword parameters are the job's own options.

    `settings` names the site settings that the rows of this job, not those of every job, follow from: changed, they make its nights stale.
    `optional` names tables that it reads where they are there, and does without where not.
    `last_line` names a function of the night whose answer is said last, as one line of JSON, whether the job ran or was up to date.
    `together` names a function that does the job for many nights (a list) at once, which costs less than for each.
    `in_turn` says that nights cost less one after the other, because each is spared what earlier ones did.
    `after` names jobs that come before it although no table of the lake passes between them.
    """

    run: str
    reads: Mapping[str, int]
    writes: tuple[str, ...]
    runtime: Runtime
    stage: str
    help: str
    settings: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    last_line: str | None = None
    together: str | None = None
    in_turn: bool = False
    after: tuple[str, ...] = ()


# What lists are made from, every night and when their ranker is fitted (jobs.past).
_PAST = {
    "user_item_day": ALL,
    "session": WINDOW,
    "item": 1,
    "category": 1,
    "item_text": 1,
    "text_embedding": 1,
    "item_topic": 1,
}
# What the checks of lists go by.
_OF_LISTS = {
    "user_topn": 1,
    "user_item_day": ALL,
    "session": WINDOW,
    "item": 1,
    "category": 1,
    "item_topic": 1,
    "declared_topic": 1,
    "event_weights": 1,
}

NIGHTLY: dict[str, Job] = {
    "clean": Job(
        "jobs.etl:clean",
        {"landing": 1},
        (
            "event_clean",
            "event_quarantine",
            "id_map",
            "open_session",
            "declared_interest",
            "user_attribute",
            "item",
            "category",
            "landing_file",
        ),
        "spark",
        "facts",
        "raw lines to accepted events, refused lines, the catalogue of the night and what became of each file",
        last_line="jobs.etl:ledger_line",
    ),
    "aggregate": Job(
        "jobs.etl:aggregate",
        {"event_clean": 1, "open_session": 1},
        ("text_sentiment", "user_item_day", "user_item_context_day", "session"),
        "spark",
        "facts",
        "counts per user and item, by event type and by context; how texts of events sound; sessions",
        settings=("sentiment_model",),
    ),
    "texts": Job(
        "jobs.etl:texts",
        {"event_clean": 1, "item": 1, "user_item_day": 1},
        ("item_text", "user_text"),
        "spark",
        "texts",
        "texts of items, reviews and searches; behaviour in words",
    ),
    "embed": Job(
        "jobs.gpu:embed",
        {"item_text": 1, "user_text": 1, "declared_interest": 1},
        ("text_embedding",),
        "torch",
        "texts",
        "vectors of texts not met before",
        in_turn=True,
    ),
    "annotate": Job(
        "jobs.annotate:annotate",
        {"item": 1, "item_text": 1, "user_text": 1, "text_embedding": 1, "text_head": 1},
        ("text_entity", "text_label"),
        "torch",
        "texts",
        "names in texts, and the interests that texts belong to",
        settings=("entity_model", "taxonomy"),
    ),
    "assign_topics": Job(
        "jobs.gpu:assign_topics",
        {"item_text": 1, "user_text": 1, "declared_interest": 1, "text_embedding": 1, "user_item_day": 1},
        ("item_topic", "user_topic_day", "declared_topic"),
        "torch",
        "topics",
        "topics of items, and of users by what they did, under the model valid for the night",
    ),
    "profile": Job(
        "jobs.interests:profile",
        {
            "user_topic_day": YEAR,
            # The window of a user is that up to the last night with events, which may be any of the last WINDOW.
            "user_item_day": 2 * WINDOW - 1,
            "item_topic": 2 * WINDOW - 1,
            "session": 2 * WINDOW - 1,
            "user_item_context_day": FOUR_WEEKS,
            "declared_topic": 1,
            "item_text": 1,
            "text_embedding": 1,
            "item": 1,
            "event_weights": 1,
        },
        ("user_interest", "user_profile", "user_context_interest", "user_interest_vector", "user_history_text"),
        "spark",
        "interests",
        "interests of users over one, seven and ninety days, with evidence, and by context; ninety days in words",
        settings=("event_types", "sensitive_topics", "text_generator", "text_model"),
    ),
    "compare": Job(
        "jobs.compare:compare",
        {"user_topic_day": YEAR, "declared_topic": 1},
        ("user_interest_change",),
        "python",
        "interests",
        "interests that are new, rising, falling, lost or back: this week against seven weeks before",
        settings=("sensitive_topics",),
    ),
    "evolve": Job(
        "jobs.evolve:evolve",
        {"user_topic_day": WINDOW, "declared_topic": 1, "forecast_model": 1},
        ("user_interest_forecast", "user_state"),
        "torch",
        "interests",
        "topics that users will probably touch in the next nights, and the state of each user that says so",
        settings=("sensitive_topics",),
    ),
    "expand": Job(
        "jobs.expand:expand",
        {"user_interest": 1, "user_topic_day": WINDOW, "user_item_day": WINDOW, "item_topic": 1, "declared_topic": 1, "event_weights": 1},
        ("user_interest_expansion", "interest_edge"),
        "python",
        "interests",
        "topics a user may take up next; topics held together, one after the other, alike or of one kind",
        settings=("event_types", "sensitive_topics", "taxonomy_edges", "text_generator", "text_model", "release"),
    ),
    "count_audiences": Job(
        "jobs.audience:count_audiences",
        {"user_interest": 1, "interest_edge": 1},
        ("topic_audience", "privacy_spend"),
        "python",
        "interests",
        "how many users hold each topic, none where they are few",
        settings=("sensitive_topics", "release"),
    ),
    "segment": Job(
        "jobs.segment:segment",
        {
            "user_interest": 1,
            "user_profile": 1,
            "user_interest_change": 1,
            "user_interest_vector": 1,
            "user_topic_day": WINDOW,
            "user_item_day": WINDOW,
            "user_text": WINDOW,
            "declared_topic": 1,
            "item": 1,
            "category": 1,
            "item_topic": 1,
            "item_text": 1,
            "text_embedding": 1,
        },
        ("user_segment",),
        "python",
        "interests",
        "audiences: users near each topic, and those whom the site's rules describe",
        settings=("segments", "sensitive_topics"),
    ),
    "recommend": Job(
        "jobs.rank:recommend",
        {
            **_PAST,
            "user_item_context_day": FOUR_WEEKS,
            "declared_topic": 1,
            "user_interest": 1,
            "user_interest_expansion": 1,
            "event_weights": 1,
            "ranker": 1,
            "experiments": 1,
        },
        ("user_topn",),
        "python",
        "lists",
        "top-N lists with a reason, evidence and the parts of its score for each slot",
        settings=("event_types", "list_rules", "reason_copy", "recommenders", "sensitive_topics", "text_generator", "text_model"),
    ),
    "evaluate": Job(
        "jobs.evaluate:evaluate",
        {
            "user_topn": 8,
            "user_item_day": ALL,
            "item": 8,
            "category": 8,
            "session": WINDOW,
            "user_profile": 8,
            "user_attribute": 8,
            "user_interest": 2,
            "user_interest_forecast": 8,
            "user_topic_day": WINDOW + 7,
            "user_interest_expansion": 8,
            "item_topic": 1,
            "item_text": 1,
            "text_embedding": 1,
            "event_weights": 1,
            "experiments": 8,
        },
        ("eval_metric", "experiment_metric", "topn_outcome"),
        "python",
        "lists",
        "earlier lists against tonight's events, beside simple baselines, and by arms of experiments; how good the topics are",
        settings=("event_types", "sensitive_topics", "list_rules", "release"),
    ),
    "audit": Job(
        "jobs.quality:audit",
        {"landing_file": 29, "accepted": 1, **_OF_LISTS},
        ("quality_result", "quality_acceptance"),
        "python",
        "publish",
        "checks of what was delivered and of the lists, which decide whether the night is published",
        settings=("block_on_history", "event_types", "sensitive_topics", "list_rules"),
        # Deliveries can be looked at as soon as they are cleaned.
        optional=tuple(_OF_LISTS),
    ),
    "publish": Job(
        "jobs.publish:publish",
        dict.fromkeys(
            (
                "user_item_day",
                "item_topic",
                "user_interest",
                "user_profile",
                "user_context_interest",
                "user_interest_change",
                "user_interest_forecast",
                "user_interest_expansion",
                "user_segment",
                "interest_edge",
                "topic_audience",
                "privacy_spend",
                "user_topn",
                "topn_outcome",
                "eval_metric",
                "experiment_metric",
                "quality_result",
                "quality_acceptance",
                "landing_file",
            ),
            1,
        ),
        (),
        "python",
        "publish",
        "all warehouse tables of the night in one transaction",
        together="jobs.publish:publish_together",
    ),
    # A stage of its own: a page that cannot be made is no reason to call the night's publication failed.
    "report": Job(
        "jobs.report:report",
        {"item": 1},
        (),
        "python",
        "report",
        "a page of the night for people, one of the topics, and the calendar of all nights",
        optional=("item",),
        together="jobs.report:report_together",
        after=("publish",),
    ),
}

TRAINING: dict[str, Job] = {
    "fit_encoder": Job(
        "jobs.gpu:fit_encoder",
        {"item_text": WINDOW, "user_text": WINDOW},
        (),
        "torch",
        "fit",
        "the encoder of the training, fitted if it is one that is, and the vectors of the training's nights",
    ),
    "fit_topics": Job(
        "jobs.train:fit_topics",
        {"item_text": WINDOW, "user_text": WINDOW, "text_embedding": WINDOW, "user_item_day": WINDOW},
        (),
        "torch",
        "fit",
        "topics by each model that is set, as candidates valid from the next night",
    ),
    "fit_labels": Job(
        "jobs.annotate:fit_labels",
        {"item": 1, "item_text": 1, "text_embedding": 1},
        (),
        "torch",
        "fit",
        "a linear head that tells item categories from vectors, for texts of all kinds",
    ),
    "promote": Job(
        "jobs.train:promote",
        {"item_text": YEAR, "user_text": YEAR, "user_item_day": YEAR},
        (),
        "torch",
        "promote",
        "make the candidate the champion if it is good enough, build its window, publish the model tables",
    ),
    "fit_forecast": Job(
        "jobs.evolve:fit_forecast",
        {"user_topic_day": YEAR},
        (),
        "torch",
        "forecast",
        "a forecast of the topics that users touch next; in use from the next night on if it beats simple ones",
    ),
    "fit_event_weights": Job(
        "jobs.event_weights:fit_event_weights",
        {"user_topic_day": 2 * 7 + FOUR_WEEKS},
        (),
        "python",
        "weights",
        "weights of event types by what users turned to next; in use from the next night on if they tell it better",
        settings=("event_types",),
    ),
    "fit_ranker": Job(
        "jobs.ranker:fit_ranker",
        {
            **_PAST,
            "event_weights": 1,
        },
        (),
        "python",
        "rank",
        "how much each source counts in the lists, by what users turned to; in use from the next night on if lists get better",
        settings=("event_types", "list_rules", "recommenders", "sensitive_topics"),
    ),
}

# Jobs that no chain and no DAG runs.
ON_REQUEST: dict[str, Job] = {
    "fine_tune": Job(
        "jobs.finetune:fine_tune",
        {"item_text": WINDOW, "user_text": WINDOW, "user_item_day": WINDOW},
        (),
        "torch",
        "fine_tune",
        "an encoder trained on what users did next; in use from then on if it is better than its base",
    ),
}

JOBS: dict[str, Job] = NIGHTLY | TRAINING | ON_REQUEST


def stages(registry: Mapping[str, Job]) -> dict[str, list[str]]:
    """Stage name → its jobs, both in registry order."""
    found: dict[str, list[str]] = {}
    for name, job in registry.items():
        found.setdefault(job.stage, []).append(name)
    return found


def stage_edges(registry: Mapping[str, Job]) -> list[tuple[str, str]]:
    """(upstream, downstream) pairs of stages: a job of downstream reads what a job of upstream writes; training stages form a chain."""
    if registry is TRAINING:
        names = list(stages(registry))
        return list(pairwise(names))
    writer = {table: job.stage for job in registry.values() for table in job.writes}
    edges = {(writer[t], job.stage) for job in registry.values() for t in job.reads if t in writer and writer[t] != job.stage}
    edges |= {(registry[earlier].stage, job.stage) for job in registry.values() for earlier in job.after}
    order = list(stages(registry))
    return sorted(edges, key=lambda e: (order.index(e[0]), order.index(e[1])))


def writer_of(table: str) -> str | None:
    """The nightly job that writes a table, or None."""
    return next((name for name, job in NIGHTLY.items() if table in job.writes), None)


def is_fact(table: str) -> bool:
    """Whether a table follows from its own night alone, so that its nights can be built in any order."""
    job = NIGHTLY[writer] if (writer := writer_of(table)) else None
    return job is not None and all(nights == 1 and (t in OUTSIDE or is_fact(t)) for t, nights in job.reads.items())
