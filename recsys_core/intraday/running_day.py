"""Working files of a day that is not over: what its stream delivered, batch by batch, and the parsed rows of that.

    _staging/intraday/ds=D/checkpoint/          how far the stream has read, Spark's own
                           batches/<n>.json     the files that batch n delivered
                           parsed/<rules>/      their rows, and what became of each file
                           vectors/<space>/     vectors of texts that no night has embedded yet

They are intermediate files like those of any job: no night reads them, and they go when the night is published, and when people are erased.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_core.lake import STAGING, FencedError, Lake, canonical_json, digest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from recsys_core.parse import Parsed, ParseJob

WHAT = "intraday"
# Buckets of users, one of which is in memory at a time.
BUCKETS = 8


def folder_of(ds: dt.date) -> str:
    """Relative path of all working files of a day."""
    return f"{STAGING}/{WHAT}/ds={ds.isoformat()}"


@dataclass(frozen=True)
class RunningDay:
    """The working files of day `ds`; `fence` raises FencedError once somebody else answers for the day."""

    lake: Lake
    ds: dt.date
    fence: Callable[[], None]

    @property
    def folder(self) -> str:
        """Relative path of the files."""
        return folder_of(self.ds)

    @property
    def checkpoint(self) -> str:
        """Relative path of the stream's checkpoint."""
        return f"{self.folder}/checkpoint"

    def begin(self) -> None:
        """Make the folder, for the lake's owner alone: parsed rows know what users are called."""
        self.lake.keep_to_owner(self.folder)

    def note(self, batch: int, files: Sequence[str]) -> None:
        """Note what a batch delivered (files relative to the landing root); the same batch again says it again."""
        self.lake.write_bytes(f"{self.folder}/batches/{batch:09}.json", canonical_json(sorted(files)).encode())

    def files(self) -> tuple[tuple[str, dt.date], ...]:
        """(file, day of its partition) of all batches, each once, sorted as a night sorts them."""
        folder = f"{self.folder}/batches"
        listed = [json.loads(self.lake.read_bytes(f"{folder}/{n}")) for n in self.lake.names(folder) if n.endswith(".json")]
        found = sorted({file for files in listed for file in files})
        return tuple((f, dt.date.fromisoformat(f.split("/")[1].removeprefix("ds="))) for f in found)

    def rows(self, spark: SparkSession, job: ParseJob, rules: str) -> Parsed:
        """The parsed rows of all files of the job, each parsed once.

        `rules` names all that the parser goes by beside the files: what was parsed by others is forgotten, and parsed anew.
        """
        from recsys_core.parse import Parsed

        place = f"{self.folder}/parsed/{rules}"
        for other in self.lake.folders(f"{self.folder}/parsed"):
            if other != rules:
                self.lake.remove(f"{self.folder}/parsed/{other}")
        known = self._known(place)
        if new := [f for f in job.files if f[0] not in {e["file"] for e in known}]:
            self._parse(spark, replace(job, files=(*((e["file"], job.night) for e in known), *new)), len(known), place)
            known = self._known(place)
        # Files were numbered as they came; a night numbers them by name.
        place_of = {file: number for number, (file, _) in enumerate(job.files)}
        known = [e for e in known if e["file"] in place_of]
        numbers = {e["file_no"]: place_of[e["file"]] for e in known}
        return Parsed(BUCKETS, store=self.lake.url, paths=tuple(e["path"] for e in known if e["path"]), numbers=numbers)

    def _known(self, place: str) -> list[dict[str, Any]]:
        """What is parsed: rows of FILE_SCHEMA with the file's name."""
        names = [n for n in self.lake.names(place) if n.endswith(".json")]
        return [entry for n in names for entry in json.loads(self.lake.read_bytes(f"{place}/{n}"))]

    def _parse(self, spark: SparkSession, job: ParseJob, first: int, place: str) -> None:
        """Parse the job's files from the first-th on; they count as parsed once the last file is written."""
        from recsys_core.buckets import answers
        from recsys_core.parse import parse_files

        folder = f"{place}/{digest([f for f, _ in job.files])[:16]}"
        self.lake.remove(folder)
        numbers = range(first, len(job.files))
        made = answers(numbers, parse_files(job, self.lake.url, folder, BUCKETS), spark if len(numbers) > 1 else None)
        found = [r | {"file": job.files[r["file_no"]][0]} for r in made]
        self._fenced(folder)
        self.lake.write_bytes(f"{folder}.json", canonical_json(found).encode())

    def vectors(self, space: str) -> list[pa.Table]:
        """Rows of text_embedding that the day had made."""
        folder = f"{self.folder}/vectors/{space}"
        return [pq.read_table(pa.BufferReader(self.lake.read_bytes(f"{folder}/{n}"))) for n in self.lake.names(folder)]

    def keep_vectors(self, space: str, rows: pa.Table) -> None:
        """Keep rows of text_embedding for the next time."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        path = f"{self.folder}/vectors/{space}/{digest(sorted(rows['text_hash'].to_pylist()))[:16]}.parquet"
        self.lake.write_bytes(path, sink.getvalue().to_pybytes())
        self._fenced(path)

    def _fenced(self, written: str) -> None:
        """FencedError, and what was written is gone, once somebody else answers for the day: people may have been erased meanwhile."""
        try:
            self.fence()
        except FencedError:
            self.lake.remove(written)
            raise
