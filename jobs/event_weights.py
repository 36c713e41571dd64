"""Event weights, fitted on what users turned to next and in use from the next night on if they tell it better."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

from jobs.as_of import end_of
from recsys_core import registry
from recsys_core.events import FITTED_WEIGHTS
from recsys_core.lake import canonical_json, digest

if TYPE_CHECKING:
    from jobs.night import Night


def fit_event_weights(
    night: Night,
    *,
    seed: Annotated[int, "of the resampling behind the intervals", range(2**31)] = 0,
) -> None:
    """Register weights of event types that are valid from the next night, fitted on the week before the last one.

    They are promoted when the topics that users touched in the last week are ranked better and are more probable under them than under
    those in use, both with 95 % confidence.
    """
    from recsys_core import event_weights as fitting

    ds, lake, say, topics = night.ds.isoformat(), night.lake, night.runner.say, night.topics
    nights = night.nights("user_topic_day") if topics else []
    if topics is None or not nights:
        say(f"{ds} fit_event_weights: no topics yet: the weights stay")
        return
    # Those of tonight, not of the next night, so that a training that is repeated starts from the same.
    before, hand_set = night.runner.event_types(night.ds), night.settings.event_types
    days = night.read("user_topic_day", columns=fitting.COLUMNS)
    week = dt.timedelta(days=fitting.AHEAD)
    learnt, judged = (fitting.weeks(days, night.ds - n * week, hand_set.decay) for n in (2, 1))
    if min(learnt.n_users, judged.n_users) < fitting.MIN_USERS:
        users = f"{learnt.n_users:,} users to learn from and {judged.n_users:,} to judge by"
        say(f"{ds} fit_event_weights: {users}, fewer than {fitting.MIN_USERS}: the weights stay")
        return
    fitted = fitting.fit(learnt, before)
    gained = fitting.gains(judged, fitted, before, seed)
    fingerprint = digest([list(i) for i in night.stamp.inputs])
    params = {"topics": topics.model_version, "hand_set": hand_set.params, "before": before.params, "seed": seed, "nights": len(nights)}
    name = registry.version_name(FITTED_WEIGHTS, night.ds, fingerprint, params)
    valid = (night.ds + dt.timedelta(days=1)).isoformat()
    params |= fitting.told(fitted, gained, judged.n_users)
    proto = registry.ModelVersion(name, FITTED_WEIGHTS, nights[0].isoformat(), ds, valid, params, fingerprint, night.stamp.code)
    version = registry.register(lake, proto, {})
    better = all(e.low > 0 for e in gained.values())
    if better:
        end = end_of(night.ds, night.settings)
        registry.promote(lake, version, end, night.runner.now or end, canonical_json(params["measured"]))
    said = ", ".join(f"{name} {e.value:+.4f} [{e.low:+.4f}, {e.high:+.4f}]" for name, e in gained.items())
    say(f"{ds} fit_event_weights: {fitting.sentence(fitted, before, fitting.seen_types(learnt))}")
    say(f"{ds} fit_event_weights: {name}: {said} over {judged.n_users:,} users: {'promoted' if better else 'not promoted'}")
    night.runner.publish_models()
