"""MovieLens as GroupLens distributes it: ml-latest(-small) (CSV), ml-1m (`::`), ml-100k (tabs and `|`), told apart by their files.

Half-star ratings of 0.5 count as 1, the lowest of the 1–5 scale; a tag that a user gave is a comment. The movies are one snapshot
without history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Source, SourceError
from recsys_core.sources.reading import csv_rows, decoded, digest, filled, find, from_epoch, iso, names, number, plain, records, required

RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS = ("movieId", "title", "genres")
TAG_COLUMNS = ("userId", "movieId", "tag", "timestamp")
# Order of the genre flags of ml-100k's u.item (its README and u.genre).
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
NO_GENRES = {"(no genres listed)", "unknown"}


def _split(path: Path, separator: str, columns: tuple[str, ...], encoding: str) -> Iterator[dict[str, Any] | None]:
    for line in decoded(path, encoding):
        if line.strip():
            values = line.split(separator)
            yield dict(zip(columns, values, strict=True)) if len(values) == len(columns) else None


def _movies_100k(path: Path) -> Iterator[dict[str, Any] | None]:
    columns = ("movieId", "title", "release", "video_release", "url", *GENRES_100K)
    for row in _split(path, "|", columns, "latin-1"):
        yield row and {**row, "genres": "|".join(genre for genre in GENRES_100K if row[genre] == "1")}


def _read(path: Path) -> Iterator[Raw]:
    if ratings := find(path, "ratings.csv"):
        yield from records("rating", csv_rows(decoded(ratings), str(ratings), RATING_COLUMNS))
        if tags := find(path, "tags.csv"):
            yield from records("tag", csv_rows(decoded(tags), str(tags), TAG_COLUMNS))
        if movies := find(path, "movies.csv"):
            yield from records("movie", csv_rows(decoded(movies), str(movies), MOVIE_COLUMNS))
    elif ratings := find(path, "ratings.dat"):
        yield from records("rating", _split(ratings, "::", RATING_COLUMNS, "latin-1"))
        if movies := find(path, "movies.dat"):
            yield from records("movie", _split(movies, "::", MOVIE_COLUMNS, "latin-1"))
    elif ratings := find(path, "u.data"):
        yield from records("rating", _split(ratings, "\t", RATING_COLUMNS, "latin-1"))
        if movies := find(path, "u.item"):
            yield from records("movie", _movies_100k(movies))
    else:
        raise SourceError(f"no ratings.csv, ratings.dat or u.data in {path}: name the unpacked MovieLens folder")


def _convert(raw: Raw) -> Iterable[Outcome]:
    kind, row = raw
    movie = required(row, "movieId")
    if kind == "movie":
        genres = [genre for genre in names(row["genres"].split("|")) if genre not in NO_GENRES]
        return [
            Item(
                None,
                filled(item_id=movie, title=plain(required(row, "title")), tags=genres, category=genres[0] if genres else None, lang="en"),
            )
        ]
    user = required(row, "userId")
    ts = from_epoch(row["timestamp"])
    second = int(ts.timestamp())
    own: dict[str, Any]
    if kind == "tag":
        text = plain(required(row, "tag"))
        own = {"event_id": f"movielens-tag-{user}-{movie}-{second}-{digest(text)[:8]}", "event_type": "comment", "text": text}
    else:
        own = {"event_id": f"movielens-rating-{user}-{movie}-{second}", "event_type": "rating", "rating": max(1.0, number(row["rating"]))}
    return [Event(ts.date(), {**own, "user_id": user, "item_id": movie, "ts": iso(ts)})]


SOURCE = Source("MovieLens ml-latest(-small), ml-1m or ml-100k, unpacked", _read, _convert, "snapshot")
