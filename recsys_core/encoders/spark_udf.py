"""The encoder as a Spark function over batches of rows: each Python worker loads the weights once and embeds its share of the partitions.

Vectors are those that `TextEncoder.encode` gives: they depend on their text alone, so neither partitions nor batches change them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BATCH_ROWS = 2_048


def embed_frame(frame: DataFrame, encoder: str, device: str = "auto", backend: str = "auto", batch_rows: int = BATCH_ROWS) -> DataFrame:
    """(text_hash, vector) for rows of (text_hash, text): unit vectors as ARRAY<FLOAT>, which hold float16 exactly; NULL counts as ''.

    encoder  name of one that is not fitted; its weights have to be installed wherever executors run
    """
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, FloatType

    encode = predict_batch_udf(_predictor(encoder, device, backend), return_type=ArrayType(FloatType()), batch_size=batch_rows)
    return frame.select("text_hash", encode(F.coalesce("text", F.lit(""))).alias("vector"))


def _predictor(encoder: str, device: str, backend: str) -> Callable[[], Callable[[np.ndarray], np.ndarray]]:
    """What makes, once in a worker, the function that Spark calls there: texts → vectors, float32."""

    def make() -> Callable[[np.ndarray], np.ndarray]:
        from recsys_core import encoders

        loaded = encoders.load(encoder, device, backend)
        return lambda texts: loaded.encode(texts.tolist()).astype(np.float32)

    return make
