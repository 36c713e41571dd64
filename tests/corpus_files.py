"""Whole files of bad input, and what must become of them: the second half of `tests.corpus`."""

from __future__ import annotations

import gzip
import json

from tests.corpus import BOM, GOOD, ONE, TWO, WRAPPED, File, events, good, line, quarantined, repaired

GOODS = (good(),) * 40
MANY = events("#")
ZIPPED = gzip.compress(events("zipped-"), mtime=0)
LATIN = events("#latin", 6, text="café").decode().encode("latin-1")
PRETTY = json.dumps(GOOD, indent=2).encode() + b"\n"


def zipped(prefix: str, n: int = 40, start: bytes = b"") -> bytes:
    """A gzip file of good events; a mark within could not be replaced."""
    return gzip.compress(start + events(prefix, n), mtime=0)


FILES: tuple[File, ...] = (
    File(2, "blank lines between", "a.jsonl", b"\n" + ONE + b"\n\n \n" + TWO + b"\n\n", good(), good()),
    File(
        36,
        "mixed epochs",
        "a.jsonl",
        b"\n".join(line(ts=n, session_id=f"#{n}", event_id=f"#{n}") for n in (1767607200, 1767607200000, 1767607200000000)),
        repaired("epoch_s"),
        repaired("epoch_ms"),
        repaired("epoch_us"),
    ),
    File(55, "Latin-1, most lines plain", "a.jsonl", MANY + LATIN, *GOODS, *(quarantined("bad_utf8"),) * 6),
    File(55, "Latin-1, all lines", "a.jsonl", LATIN, reason="not_json_lines"),
    File(56, "UTF-16", "a.jsonl", MANY.decode().encode("utf-16"), reason="encoding"),
    File(56, "UTF-16 big-endian", "a.jsonl", b"\xfe\xff" + MANY.decode().encode("utf-16-be"), reason="encoding"),
    File(56, "UTF-16 without a mark", "a.jsonl", MANY.decode().encode("utf-16-le"), reason="encoding"),
    File(56, "UTF-16 in gzip", "a.jsonl.gz", gzip.compress(MANY.decode().encode("utf-16"), mtime=0), reason="encoding"),
    File(56, "UTF-32", "a.jsonl", MANY.decode().encode("utf-32"), reason="encoding"),
    File(57, "byte-order mark", "a.jsonl", BOM + ONE + b"\n" + TWO, repaired("bom"), good()),
    File(57, "byte-order mark in gzip", "a.jsonl.gz", zipped("bom-", 1, BOM), repaired("bom")),
    File(57, "byte-order mark before an array", "a.jsonl", BOM + WRAPPED, repaired("array_unwrapped", "bom")),
    File(57, "byte-order mark before a bad line", "a.jsonl", BOM + b"{}\n" + ONE, quarantined("missing_required", b"{}"), good()),
    File(58, "CR LF throughout", "a.jsonl", MANY.replace(b"\n", b"\r\n"), *GOODS),
    File(58, "CR throughout", "a.jsonl", MANY.replace(b"\n", b"\r"), *(repaired("glued_objects"),) * 40),
    File(58, "mixed line ends, the last without", "a.jsonl", ONE + b"\r\n\r\n" + TWO, good(), good()),
    File(59, "pretty-printed", "a.jsonl", PRETTY, reason="not_json_lines"),
    File(59, "a pretty-printed array", "a.jsonl", json.dumps([GOOD] * 3, indent=1).encode(), reason="not_json_lines"),
    File(59, "an array over lines", "a.jsonl", b"[\n" + b",\n".join([ONE] * 9) + b"\n]\n", reason="not_json_lines"),
    File(62, "a line of 18 MB", "a.jsonl", MANY + b'{"a":[' + b'"key",' * 3_000_000 + b"0]}\n", reason="line_too_long"),
    File(62, "18 MB without a line feed", "a.jsonl", b" " * (18 << 20), reason="line_too_long"),
    File(62, "gzip bomb", "a.jsonl.gz", gzip.compress((b" " * ((1 << 20) - 1)) + b"\n", mtime=0) * 80, reason="gz_bomb"),
    File(62, "gzip bomb of one line", "a.jsonl.gz", gzip.compress(b"[" * (1 << 20), mtime=0) * 80, reason="line_too_long"),
    File(65, "a tenth are pages of errors", "a.jsonl", MANY + b"<html>\n" * 5, reason="not_json_lines"),
    File(
        65,
        "nothing but a page of an error",
        "a.jsonl",
        b"<html>\n<head>\n<title>502</title>\n</head>\n<body>\n</body>\n</html>\n",
        reason="not_json_lines",
    ),
    File(65, "CSV", "a.jsonl", b"event_id,user_id\n" + b"e1,u1\n" * 9, reason="not_json_lines"),
    File(66, "gzip cut in the middle", "a.jsonl.gz", ZIPPED[: len(ZIPPED) // 2], reason="gz_truncated"),
    File(66, "gzip cut in its header", "a.jsonl.gz", ZIPPED[:5], reason="gz_truncated"),
    File(66, "gzip cut in its trailer", "a.jsonl.gz", ZIPPED[:-3], reason="gz_truncated"),
    File(66, "gzip cut in the second member", "a.jsonl.gz", ZIPPED + ZIPPED[:-9], reason="gz_truncated"),
    File(66, "gzip of two members", "a.jsonl.gz", zipped("first-") + zipped("second-", 1), *GOODS, good()),
    File(67, "wrong check sum", "a.jsonl.gz", ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], reason="gz_corrupt"),
    File(67, "wrong length", "a.jsonl.gz", ZIPPED[:-4] + b"\0\0\0\1", reason="gz_corrupt"),
    File(67, "a flipped byte", "a.jsonl.gz", ZIPPED[:30] + bytes([ZIPPED[30] ^ 255]) + ZIPPED[31:], reason="gz_corrupt"),
    File(67, "rubbish behind", "a.jsonl.gz", ZIPPED + b"rubbish", reason="gz_trailing"),
    File(67, "one byte behind", "a.jsonl.gz", ZIPPED + b"x", reason="gz_trailing"),
    File(67, "zeros behind", "a.jsonl.gz", zipped("padded-") + b"\0" * 512, *GOODS),
    File(67, "plain text by the name of gzip", "a.jsonl.gz", MANY, reason="not_gzip"),
    File(67, "zip by the name of gzip", "a.jsonl.gz", b"PK\x03\x04\x14\0\0\0\x08\0" + ZIPPED[10:], reason="not_gzip"),
    File(68, "gzip without its name", "a.jsonl", zipped("nameless-"), *GOODS),
    File(69, "no byte", "a.jsonl", b"", reason="empty_source"),
    File(69, "gzip of no byte", "a.jsonl.gz", gzip.compress(b"", mtime=0), reason="empty_source"),
    File(69, "no byte by the name of gzip", "a.jsonl.gz", b"", reason="empty_source"),
    File(69, "only blank lines", "a.jsonl", b"\n \n\n", reason="empty_source"),
    File(69, "only a byte-order mark", "a.jsonl", BOM, reason="empty_source"),
)
