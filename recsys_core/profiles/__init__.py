"""Profiles of users: what they are interested in and why, and what is told of them in one row."""

from recsys_core.profiles.clock import HORIZONS, WINDOW, HalfLife
from recsys_core.profiles.interests import MAX_TOPICS, user_interest
from recsys_core.profiles.pooled import item_weights, pooled_vectors
from recsys_core.profiles.users import shares_of, user_profile, write_summaries

__all__ = [
    "HORIZONS", "MAX_TOPICS", "WINDOW", "HalfLife", "item_weights", "pooled_vectors", "shares_of", "user_interest",
    "user_profile", "write_summaries",
]  # fmt: skip
