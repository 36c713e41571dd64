"""Where the events of a running day come from: files of the landing zone as they land, or a topic of Kafka. Both by Spark's streams."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException

from recsys_core.lake import LakeError
from recsys_core.landing import WINDOW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from recsys_core.intraday.running_day import RunningDay
    from recsys_core.landing import Landing

LANDING = "landing"
# Spark passes over files that are this much older than the newest: never.
_MAX_AGE = "36500d"
_FILE = "path string, modificationTime timestamp, length bigint, content binary"


class Stream(Protocol):
    """A source of batches. `url` is the root below which the files lie that `delivered` names."""

    url: str

    def frame(self, spark: SparkSession) -> DataFrame:
        """The streaming frame."""

    def delivered(self, batch: DataFrame, number: int) -> list[str]:
        """Files of a batch, as `events/ds=…/name`; the same batch again gives the same ones."""


@dataclass
class Files:
    """The landing partitions that may hold events of the day. Files must appear whole, under names of their own: they are read once."""

    landing: Landing
    ds: dt.date

    def __post_init__(self) -> None:
        self.url = self.landing.url

    def frame(self, spark: SparkSession) -> DataFrame:
        """Paths of files; what stands in them is not read."""
        root = self.url if "://" in self.url else f"file://{self.url}"
        root = re.sub(r"([*?{}\[\]\\])", r"\\\1", root.replace("s3://", "s3a://"))
        days = ",".join(f"ds={self.ds + dt.timedelta(days=n)}" for n in WINDOW)
        reader = spark.readStream.format("binaryFile").schema(_FILE).option("maxFileAge", _MAX_AGE)
        return reader.load(f"{root}/events/{{{days}}}").select("path")

    def delivered(self, batch: DataFrame, number: int) -> list[str]:
        """Those that a night would read."""
        there = {f for n in WINDOW for f in self.landing.files(self.ds + dt.timedelta(days=n))}
        paths = ["/".join(r["path"].split("/")[-3:]) for r in batch.collect()]
        return sorted(f for path in paths for f in {path, unquote(path)} & there)


@dataclass
class Kafka:
    """A topic whose values are lines as in landing files; each batch is kept as one file of the day.

    What is in the topic must land as well, at the latest when the day is over: nights read the landing zone.
    """

    address: str
    day: RunningDay
    midnight: dt.datetime

    def __post_init__(self) -> None:
        self.url = f"{self.day.lake.url}/{self.day.folder}/kafka"

    def frame(self, spark: SparkSession) -> DataFrame:
        """Values from the day's first moment on; LakeError when this Spark has no connector."""
        found = urlsplit(self.address)
        options = {
            "kafka.bootstrap.servers": found.netloc,
            "subscribe": found.path.strip("/"),
            "startingTimestamp": str(int(self.midnight.timestamp() * 1000)),
            "startingOffsetsByTimestampStrategy": "latest",
        }
        try:
            return spark.readStream.format("kafka").options(**options).load().select("value", "partition", "offset")
        except AnalysisException as error:
            if error.getCondition() != "KAFKA_DATA_SOURCE_NOT_ENABLED":
                raise
            package = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{spark.version}"
            raise LakeError(
                f"INTRADAY_SOURCE is {self.address}, and this Spark has no connector for Kafka: name {package} as spark.jars.packages in "
                f"SPARK_CONF, or lay its jars into Spark's folder; INTRADAY_SOURCE={LANDING} needs none"
            ) from error

    def delivered(self, batch: DataFrame, number: int) -> list[str]:
        """The file into which the batch was written."""
        file = f"events/ds={self.day.ds.isoformat()}/{number:09}.jsonl"
        values = batch.orderBy("partition", "offset").select("value").toArrow()["value"].to_pylist()
        self.day.lake.write_bytes(f"{self.day.folder}/kafka/{file}", b"".join((v or b"") + b"\n" for v in values))
        return [file]


def stream(setting: str, landing: Landing, day: RunningDay, midnight: dt.datetime) -> Stream:
    """The source that the setting INTRADAY_SOURCE names; `midnight` is the day's first moment."""
    return Files(landing, day.ds) if setting == LANDING else Kafka(setting, day, midnight)
