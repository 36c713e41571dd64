"""What follows the last thing that a user turned to: the simplest use of order, a baseline."""

from __future__ import annotations

from recsys_core.recommenders.transitions import Transitions


class LastItem(Transitions):
    """First-order transitions: how often each item came right after the user's last one, neither decayed nor tamed."""

    def __init__(self) -> None:
        super().__init__(window=1, decay=1.0, row_power=0.0, column_power=0.0, profile_decay=1.0, last=1)
