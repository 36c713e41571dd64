"""How interests go on: a forecast trained on the nights up to one, and what it says of every user's next nights."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import pyarrow as pa

from jobs import WINDOW, YEAR
from jobs.as_of import end_of
from jobs.night import Night
from jobs.runner import ParameterError
from recsys_core import registry
from recsys_core.lake import canonical_json, digest, empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from recsys_core.evolution.cut import Cut
    from recsys_core.evolution.features import TopicDays

_COLUMNS = ["ds", "user_key", "topic_id", "mass_micro"]


def evolve(
    night: Night,
    *,
    top: Annotated[int, "topics of a user's forecast", range(1, 1001)] = 10,
    device: Annotated[Literal["auto", "cpu", "cuda"], "where the network runs; auto: as the setting DEVICE says"] = "auto",
) -> None:
    """Write user_interest_forecast and user_state of the night; both empty without a forecast trained on the night's topics."""
    from recsys_core import evolution

    topics = night.topics
    version = evolution.valid_for(night.lake, night.ds, topics.model_version) if topics else None
    if version is None:
        night.runner.say(f"{night.ds.isoformat()} evolve: no forecast of the night's topics is valid: run `python -m jobs fit_forecast`")
        for table in night.spec.writes:
            night.write(table, empty(TABLES[table]))
        return
    from recsys_core.evolution import network, rows  # they load torch
    from recsys_core.evolution.features import topic_days

    forecaster = network.restore({name: registry.load(night.lake, version, name) for name in version.files})
    days = topic_days(night.read("user_topic_day", WINDOW, _COLUMNS), forecaster.recipe.topics)
    muted = night.stances.muted
    made = rows.rows(forecaster, days, night.ds, version.model_version, top, night.sensitive, muted, _device(night, device))
    parts = list(made)
    for at, table in enumerate((rows.FORECAST, rows.STATE)):
        found = pa.concat_tables([TABLES[table].arrow_schema().empty_table(), *(p[at] for p in parts)])
        night.write(table, found, forecast=version.model_version)


def _device(night: Night, device: str) -> str:
    """cpu or cuda."""
    import torch

    wanted = night.settings.device if device == "auto" else device
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def fit_forecast(
    night: Night,
    *,
    models: Annotated[str | None, "sequence models to fit, comma-separated; nights use the first [setting FORECAST_MODELS]"] = None,
    hidden: Annotated[int, "width of the hidden state, a multiple of four", range(4, 1025)] = 48,
    epochs: Annotated[
        int, "passes over the training nights at most; the one that is best on the validation nights is kept", range(1, 201)
    ] = 20,
    most: Annotated[
        int, "(user, night) pairs to learn from, to choose by and to judge by, at most about so many", range(100, 10**8)
    ] = 20_000,
    train_nights: Annotated[int, "nights of data, the last one included", range(1, YEAR + 1)] = 180,
    seed: Annotated[int, "seed of all that is drawn", range(2**31)] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], "where it is trained; auto: as the setting DEVICE says"] = "auto",
    force: bool = False,
) -> None:
    """Register forecasts of the topics that are valid from the next night, trained on the nights up to ds.

    The first is promoted when on the last nights, which it was not trained on, its ndcg@10 of the topics that are touched is above that of
    the seven-day share and above that of the last interest with 95 % confidence, at every horizon that it was trained for: those that there
    are nights for.
    """
    from recsys_core import evolution
    from recsys_core.evolution.cut import time_cut
    from recsys_core.evolution.features import topic_days
    from recsys_core.topics.tables import load_topics

    if hidden % 4:
        raise ParameterError(f"--hidden {hidden} is no multiple of four")
    ds, lake, say, topics = night.ds.isoformat(), night.lake, night.runner.say, night.topics
    wanted = _models(models or night.settings.forecast_models)
    nights = night.nights("user_topic_day", train_nights) if topics else []
    cut = time_cut(nights[0].toordinal(), night.ds.toordinal(), evolution.HORIZONS) if nights else None
    if topics is None or cut is None:
        say(f"{ds} fit_forecast: {len(nights)} nights of topics, too few to learn from and to judge by: no forecast")
        return
    params = {
        "topics": topics.model_version,
        "horizons": list(cut.horizons),
        "hidden": hidden,
        "epochs": epochs,
        "most": most,
        "seed": seed,
    }
    params |= {"train_nights": len(nights)}
    fingerprint, days = digest([list(i) for i in night.stamp.inputs]), None
    for name in wanted:
        kind, made_by = evolution.kind_of(name, wanted[0]), params | {"model": name}
        made = registry.version_name(kind, night.ds, fingerprint, made_by)
        if not force and registry.find(lake, kind, made) is not None:
            say(f"{ds} fit_forecast: {made}")
            continue
        days = days or topic_days(night.read("user_topic_day", train_nights, _COLUMNS), load_topics(lake, topics).ids)
        valid = (night.ds + dt.timedelta(days=1)).isoformat()
        version = registry.ModelVersion(made, kind, nights[0].isoformat(), ds, valid, made_by, fingerprint, night.stamp.code)
        _fit(night, version, days, cut, _device(night, device))
    night.runner.publish_models()


def _models(listed: str) -> list[str]:
    """The sequence models of a comma-separated list; ParameterError for one that is not registered, or none."""
    from recsys_core.evolution import SEQUENCE_MODELS

    found = list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    if not found or not set(found) <= set(SEQUENCE_MODELS):
        raise ParameterError(f"{listed!r} names no sequence models: there are {', '.join(SEQUENCE_MODELS)}")
    return found


def _fit(night: Night, version: registry.ModelVersion, days: TopicDays, cut: Cut, device: str) -> None:
    """Train, judge and register a version; promote it if it is of the kind that nights use and good enough."""
    from recsys_core import evolution
    from recsys_core.evolution import metrics, training

    say, lake, ds, params = night.runner.say, night.lake, night.ds.isoformat(), version.params
    task = training.Task(
        model=params["model"],
        hidden=params["hidden"],
        epochs=params["epochs"],
        most=params["most"],
        seed=params["seed"],
        device=device,
        processes=night.settings.train_processes,
    )
    try:
        forecaster, losses = training.fit(days, cut, task)
    except ValueError as error:
        say(f"{ds} fit_forecast: {error}: no forecast")
        return
    measured = metrics.judged(forecaster, days, cut, task.most, task.seed, device)
    told = {"measured": measured, "losses": losses, "processes": task.processes, "device": device}
    version = registry.register(lake, replace(version, params=params | told), forecaster.save())
    for horizon, found in measured.items():
        if gate := found["metrics"].get(metrics.GATE):
            others = ", ".join(f"{n} {v[0]:.4f}" for n, v in gate.items() if n != "value" and not n.endswith("_diff"))
            least = min(v[1] for n, v in gate.items() if n.endswith("_diff"))
            ahead = "the next night" if horizon == "1" else f"the next {horizon} nights"
            said = f"{metrics.GATE} of {ahead} {gate['value'][0]:.4f}, {others}; at least {least:+.4f} more"
            say(f"{ds} fit_forecast: {said} with 95 % confidence over {found['users']:,} users; calibration error {found['ece']:.4f}")
    better = version.kind == evolution.KIND and metrics.better(measured)
    if better:
        end = end_of(night.ds, night.settings)
        gates = {h: found["metrics"][metrics.GATE] for h, found in measured.items()}
        registry.promote(lake, version, end, night.runner.now or end, canonical_json(gates))
    say(f"{ds} fit_forecast: {version.model_version}: {'promoted' if better else 'not promoted'}")
