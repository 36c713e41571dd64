"""MovieLens as GroupLens distributes it: ml-latest(-small) (CSV), ml-1m (`::`), ml-100k (tabs and `|`), told apart by their files.

Half-star ratings of 0.5 count as 1, the lowest of the 1–5 scale; a tag that a user gave is a comment. The movies are one snapshot
without history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source, SourceError, on_night
from recsys_core.sources.reading import csv_records, decoded, digest, filled, find, from_epoch, iso, names, number, plain, required

RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS = ("movieId", "title", "genres")
TAG_COLUMNS = ("userId", "movieId", "tag", "timestamp")
# Order of the genre flags of ml-100k's u.item (its README and u.genre).
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
NO_GENRES = {"(no genres listed)", "unknown"}


def _night(row: dict[str, str]) -> date:
    return from_epoch(row["timestamp"]).date()


def _csv(kind: str, path: Path, columns: tuple[str, ...]) -> Iterator[Raw]:
    return csv_records(kind, decoded(path), str(path), columns, _night)


def _split(kind: str, path: Path, separator: str, columns: tuple[str, ...]) -> Iterator[Raw]:
    for number_, line in enumerate(decoded(path, "latin-1"), 1):
        if line.strip():
            values = line.split(separator)
            row = dict(zip(columns, values, strict=False))
            good = len(values) == len(columns)
            yield Raw(kind if good else "refused", row if good else Refusal("bad_row", record=line), str(path), number_)


def _movies_100k(path: Path) -> Iterator[Raw]:
    columns = ("movieId", "title", "release", "video_release", "url", *GENRES_100K)
    for raw in _split("movie", path, "|", columns):
        genres = {"genres": "|".join(genre for genre in GENRES_100K if raw.value[genre] == "1")} if raw.kind == "movie" else {}
        yield raw._replace(value={**raw.value, **genres}) if genres else raw


def _read(path: Path) -> Iterator[Raw]:
    if ratings := find(path, "ratings.csv"):
        yield from _csv("rating", ratings, RATING_COLUMNS)
        if tags := find(path, "tags.csv"):
            yield from _csv("tag", tags, TAG_COLUMNS)
        if movies := find(path, "movies.csv"):
            yield from _csv("movie", movies, MOVIE_COLUMNS)
    elif ratings := find(path, "ratings.dat"):
        yield from _split("rating", ratings, "::", RATING_COLUMNS)
        if movies := find(path, "movies.dat"):
            yield from _split("movie", movies, "::", MOVIE_COLUMNS)
    elif ratings := find(path, "u.data"):
        yield from _split("rating", ratings, "\t", RATING_COLUMNS)
        if movies := find(path, "u.item"):
            yield from _movies_100k(movies)
    else:
        raise SourceError(f"no ratings.csv, ratings.dat or u.data in {path}: name the unpacked MovieLens folder")


def _convert(raw: Raw) -> Iterable[Outcome]:
    row = raw.value
    if raw.kind == "movie":
        genres = [genre for genre in names(row["genres"].split("|")) if genre not in NO_GENRES]
        return [
            Item(
                None,
                filled(
                    item_id=required(row, "movieId"),
                    title=plain(required(row, "title")),
                    tags=genres,
                    category=genres[0] if genres else None,
                    lang="en",
                ),
            )
        ]
    ts = from_epoch(row["timestamp"])
    with on_night(ts.date()):
        return [_event(raw.kind, row, ts)]


def _event(kind: str, row: dict[str, str], ts: datetime) -> Event:
    user, movie = required(row, "userId"), required(row, "movieId")
    second = int(ts.timestamp())
    own: dict[str, Any]
    if kind == "tag":
        text = plain(required(row, "tag"))
        own = {"event_id": f"movielens-tag-{user}-{movie}-{second}-{digest(text)[:8]}", "event_type": "comment", "text": text}
    else:
        own = {"event_id": f"movielens-rating-{user}-{movie}-{second}", "event_type": "rating", "rating": max(1.0, number(row["rating"]))}
    return Event(ts.date(), {**own, "user_id": user, "item_id": movie, "ts": iso(ts)})


SOURCE = Source("MovieLens ml-latest(-small), ml-1m or ml-100k, unpacked", _read, _convert, "snapshot")
