"""Encoders: unit vectors that depend on their text alone, in a space that is named without loading anything."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from recsys_core import encoders

NAMES = sorted(encoders.ENCODERS)
TEXTS = [
    "light hiking boots for wet trails",
    "waterproof trekking shoes",
    "a cookbook of Italian desserts",
    "how to bake tiramisu and panna cotta",
    "",
    "登山鞋 防水",
    "boots",
    *(f"a longer description of product number {n}: " + "sturdy, well made, easy to clean. " * (n % 9) for n in range(60)),
    "word " * 2_000,
]


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest) -> encoders.TextEncoder:
    return encoders.load(request.param, "cpu")


def test_vectors_have_unit_length_and_mean_what_the_texts_mean(encoder: encoders.TextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert vectors.dtype == np.float16
    wide = vectors.astype(np.float64)
    assert np.allclose(np.linalg.norm(wide, axis=1), 1, atol=2e-3)
    shoes, food = wide[0] @ wide[1], wide[2] @ wide[3]
    assert min(shoes, food) > max(wide[0] @ wide[2], wide[1] @ wide[3]) + 0.2


def test_a_vector_depends_on_its_text_alone(encoder: encoders.TextEncoder) -> None:
    together = dict(zip(TEXTS, encoder.encode(TEXTS), strict=True))
    shuffled = [TEXTS[i] for i in np.random.default_rng(1).permutation(len(TEXTS))]
    for group in (shuffled, shuffled[:5], shuffled[5:30] * 2, TEXTS[:1]):
        for text, vector in zip(group, encoder.encode(group), strict=True):
            assert vector.tobytes() == together[text].tobytes(), f"{text[:40]!r} changed with its company"


def test_no_texts_and_counted_progress(encoder: encoders.TextEncoder) -> None:
    lines: list[str] = []
    assert encoder.encode([]).shape == (0, encoder.dimensions)
    encoder.encode(["one", "two", "one"], lines.append)
    assert lines == ["embedded 2 of 2 texts"]


@pytest.mark.parametrize("name", NAMES)
def test_the_space_is_named_without_loading_a_model(name: str) -> None:
    program = f"""import sys
from recsys_core.encoders import space_of
print(space_of({name!r}))
print({{'torch', 'transformers'}} & set(sys.modules))"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert out == [encoders.space_of(name), "set()"]
    assert out[0].startswith(f"{name}-")


def test_unknown_names_and_missing_devices_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"no encoder is named 'word2vec'.*minilm"):
        encoders.space_of("word2vec")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="no GPU"):
            encoders.load("minilm", "cuda")
