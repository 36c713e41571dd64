"""An endpoint that speaks OpenAI's chat completions, by httpx2 (the client that the model hub's library brings along)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from recsys_core.generate import Prompt

MAX_BYTES = 1 << 18
# An endpoint that failed so often in a row is not asked for the rest.
GIVE_UP_AFTER = 3


class Endpoint:
    """A model behind `<url>/chat/completions`. The key goes into one header and nowhere else; no redirect and no proxy is followed."""

    def __init__(self, url: str | None, model: str | None, key: str | None = None, timeout_s: float = 30.0, **_: Any) -> None:
        """ValueError when url or model is missing, or the URL is none of http(s) or holds a password."""
        if not url or not model:
            raise ValueError("an endpoint needs both TEXT_ENDPOINT, like https://host/v1, and TEXT_MODEL, the name it has there")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password or parts.query:
            raise ValueError("TEXT_ENDPOINT is no URL like https://host/v1 (a key belongs into TEXT_API_KEY or TEXT_API_KEY_FILE)")
        self._url, self._model, self._key, self._timeout_s = url.rstrip("/"), model, key, timeout_s

    @property
    def name(self) -> str:
        """'endpoint:', the model and where it is."""
        return f"endpoint:{self._model}@{self._url}"

    def generate(self, prompts: Sequence[Prompt], say: Callable[[str], None]) -> list[str]:
        """What the endpoint answers, one request a prompt, temperature 0."""
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        found, faults, in_a_row = [""] * len(prompts), [], 0
        with httpx2.Client(timeout=self._timeout_s, headers=headers, trust_env=False) as client:
            for place, prompt in enumerate(prompts):
                if in_a_row == GIVE_UP_AFTER:
                    break
                try:
                    found[place] = self._ask(client, prompt)
                    in_a_row = 0
                except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
                    faults.append(f"{type(error).__name__}: {error}"[:200])
                    in_a_row += 1
        if missing := found.count(""):
            say(f"text generator: {missing} of {len(prompts)} texts are by template: {faults[0] if faults else 'empty answers'}")
        return found

    def _ask(self, client: Any, prompt: Prompt) -> str:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt.text}],
            "temperature": 0,
            "seed": 0,
            "max_tokens": prompt.max_tokens,
        }
        held, end = bytearray(), time.monotonic() + self._timeout_s
        with client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
            response.raise_for_status()
            for part in response.iter_bytes():
                held += part
                # The client's own limit is one between two packets: an answer that drips in would never end.
                if len(held) > MAX_BYTES or time.monotonic() > end:
                    raise ValueError(f"the answer is longer than {MAX_BYTES:,} bytes or {self._timeout_s:g} s")
        answer = json.loads(held)["choices"][0]["message"]["content"]
        if not isinstance(answer, str):
            raise TypeError("the answer is no text")
        return answer
