"""A site's own edges between topics, in a CSV file: what people know and no log shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HEADER = ("src", "dst")


class TaxonomyEdgeError(ValueError):
    """A file of edges that cannot be used: every fault on a line of its own, with its place and its remedy."""


@dataclass(frozen=True)
class TaxonomyEdges:
    """(from, to) of each edge, each an id or a label of a topic as written."""

    rows: tuple[tuple[str, str], ...] = ()

    def between(self, labels: Mapping[int, Iterable[str]]) -> tuple[list[tuple[int, int]], list[str]]:
        """(edges between topics, given with their labels in any language, by id; the names that are none of these topics).

        Case does not matter. A name that several topics have stands for the one with the lowest id; of one that leads to itself nothing is
        made.

        >>> TaxonomyEdges((("Tents", "9"), ("炉具", "tents"), ("boats", "9"))).between({4: ("tents", "帐篷"), 9: ("stoves", "炉具")})
        ([(4, 9), (9, 4)], ['boats'])
        """
        ids = {name.casefold(): i for i, names in sorted(labels.items(), reverse=True) for name in (*names, str(i))}
        unknown = sorted({n for row in self.rows for n in row if n.casefold() not in ids})
        found = {(ids[a.casefold()], ids[b.casefold()]) for a, b in self.rows if {a, b}.isdisjoint(unknown)}
        return sorted((a, b) for a, b in found if a != b), unknown


def taxonomy_edges(text: str, name: str) -> TaxonomyEdges:
    """The edges in the CSV file `name`, whose first line is src,dst; TaxonomyEdgeError names all its faults.

    >>> taxonomy_edges('src,dst\\n"tent, camp",stoves\\n', "edges.csv").rows
    (('tent, camp', 'stoves'),)
    """
    reader = csv.reader(io.StringIO(text), strict=True)
    rows: dict[tuple[str, str], int] = {}
    faults: list[str] = []
    last = 0  # a field may hold line breaks: the reader's count is of the last line read
    try:
        for fields in reader:
            cells, line, last = tuple(f.strip() for f in fields), last + 1, reader.line_num
            if line == 1:
                if cells != HEADER:
                    faults.append(f"{name}, line 1: the first line is src,dst, and below it one edge on each line")
            elif not any(cells):
                continue
            elif len(cells) != 2 or not all(cells):
                faults.append(f"{name}, line {line}: give two topics, src,dst; put a label that holds a comma in double quotes")
            elif cells[0].casefold() == cells[1].casefold():
                faults.append(f"{name}, line {line}: {cells[0]!r} leads to itself; name another topic")
            elif (edge := (cells[0], cells[1])) in rows:
                faults.append(f"{name}, line {line}: the edge is there already, on line {rows[edge]}; name it once")
            else:
                rows[edge] = line
    except csv.Error as error:
        faults.append(f"{name}, line {max(reader.line_num, 1)}: no CSV: {error}; close every double quote")
    if not faults and last == 0:
        faults.append(f"{name}, line 1: the file is empty; write src,dst, and below it one edge on each line")
    if faults:
        raise TaxonomyEdgeError("\n".join(faults))
    return TaxonomyEdges(tuple(rows))
