"""Who may be known as what: users are named by a keyed hash alone everywhere behind the landing zone."""

from __future__ import annotations

import hmac


def user_key(secret: bytes, user_id: str) -> str:
    """64 hex digits of HMAC-SHA-256(secret, UTF-8 of user_id) (RFC 2104); ValueError on an empty secret.

    >>> user_key(b"Jefe", "what do ya want for nothing?")[:16]
    '5bdcc146bf60754e'
    """
    if not secret:
        raise ValueError("the secret of the user keys is empty: set USER_KEY_SECRET")
    return hmac.digest(secret, user_id.encode(), "sha256").hex()
