"""Personal data in texts: what is masked, what only looks like it, and that no text is too long or too odd."""

from __future__ import annotations

import doctest
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.cn import ric

import recsys_core.parse.pii
from recsys_core.parse.pii import mask


def listed(lines: str) -> list[str]:
    return [part for line in lines.strip().splitlines() for part in line.strip().split(" | ")]


ADDRESSES = listed("""
    a.b@qq.com | 12345678@qq.com | john_doe+news@mail.example.co.uk | info@walsheim-brauerei.de | O_o@x.io | user%40example.com
    müller@web.de | info@müller.de | почта@пример.рф | a@例子.中国 | a@公司.cn | ａ＠ｑｑ．ｃｏｍ
""")
PHONES = listed("""
    +49 30 901820 | +49 (0)30 901820 | 0049 30 901820 | 030 901820 | (030) 90 18 20 | 030/901820 | 0151 23456789 | 015123456789
    (212) 736-5000 | 212-736-5000 | 212.736.5000 | 1-604-988-5545 | +1 (212) 736-5000 | +352 26203652
    13812345678 | 138-1234-5678 | 138 1234 5678 | +86 138 1234 5678 | 8613812345678 | 010-62795032 | 400-810-8888 | １３８１２３４５６７８
    07911123456 | 07911 123456 | 020 7946 0958 | +44 20 7946 0958 | ＋８６ 138\u20111234\u20115678
""")
CARDS = listed("""
    4111 1111 1111 1111 | 4111-1111-1111-1111 | 4111111111111111 | 378282246310005 | 3782 822463 10005 | 5555555555554444
    2223003122003222 | 30569309025904 | 6011111111111117 | 3530111333300000 | 6222021202001234567 | ４１１１ １１１１ １１１１ １１１１
    4111\u00a01111\u00a01111\u00a01111
""")
PEOPLE = ["11010519491231002X", "11010519491231002x", "360426199101010071", "110105 19491231 002X"]
HARMLESS = listed("""
    12.99 | 1,299.00 | $1299.0012345 | 500,000,000 points | 100 000 000 | 2147483647 | 3.14159265358979 | 0.8535533 | 55555555555555
    2026-01-05 10:00:00 | 2026-01-05T10:00:00.123456+08:00 | 05/01/2016 - 06/01/2017 | 20160105 | 00:00:01 - 00:10:00 | 2013-2014
    (1603-1625) | 9780306406157 | 978-0-306-40615-7 | 0-262-18190-8 | 4006381333931 | 8691234567890 | Order 123-4567890-1234567
    order 5123456789 | SN 0123456789 | 1609459200000 | 10.0.19041.1 | version 2.0.1234567.89 | 3-2, 10:8 and 21-19 | 10/10 100/100
    1000000000/10 | 192.168.100.200:8080 | 66.150.164.59 | fe80::1234:5678:9abc:def0 | d41d8cd98f00b204e9800998ecf8427e
    1080x1920 3840x2160 | https://arxiv.org/abs/0910.2350 | quant-ph/0512071 | https://shop.example/item/4111111111111111?v=13812345678
    https://example.com/a/19775/188984 | logo@2x.png | x = a@b.transpose() | @dataclass | @小明 你好 | user@localhost | a@b | 5 @ 3.99
    4111 1111 1111 1112 | 0000 0000 0000 0000 | 378282246310006 | 110105194912310021 | 13812345678901 | 12812345678 | v13812345678
""")


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(recsys_core.parse.pii) == (0, 2)


@pytest.mark.parametrize(("name", "written"), [("email", ADDRESSES), ("phone", PHONES), ("card", CARDS), ("id", PEOPLE)])
def test_what_is_masked_whatever_stands_around_it(name: str, written: list[str]) -> None:
    for raw in written:
        for before, behind in (("", ""), ("write to ", ", please."), ("call:", "!"), ("（", "）"), ("联系我", "谢谢"), ("\n", "\n")):
            assert mask(before + raw + behind) == f"{before}[{name}]{behind}"


def test_several_in_one_text_and_what_is_left() -> None:
    for text, masked in (
        ("a@b.com,c@d.org; 13812345678/13912345678", "[email],[email]; [phone]/[phone]"),
        ("https://x.com/?email=a.b@qq.com&x=1 or ?mail=a.b%40qq.com", "https://x.com/?email=[email]&x=1 or ?mail=[email]"),
        ("4111 1111 1111 1111 123 or 4111 1111 1111 1111 12/27", "[card] 123 or [card] 12/27"),
        ("4.5/5, 1,204 of them. Mail me at a@b.com.", "4.5/5, 1,204 of them. Mail me at [email]."),
    ):
        assert mask(text) == masked


def test_what_only_looks_like_it_stays() -> None:
    for text in (*HARMLESS, "; ".join(HARMLESS), "，".join(HARMLESS)):
        assert mask(text) == text


def test_an_identity_number_needs_a_birthday_and_no_county_that_the_library_knows() -> None:
    new_county, no_birthday = (first + ric.calc_check_digit(first + "0") for first in ("11000119850101007", "11010519490231002"))
    assert mask(f"{new_county} {no_birthday}") == f"[id] {no_birthday}"


PIECES = [
    *listed("""
        a.b@qq.com | %40 | 13812345678 | +49 30 901820 | (212) 736-5000 | 030 901820 | 4111 1111 1111 1111 | 4111111111111111
        11010519491231002X | 138 | 86 | +86 | com | [phone] | 谢 | １ | é | ٣ | ² | \ud800 | \u202e
    """),
    *"+-.:/ ()01@,x_[]#$=\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=60))
@settings(max_examples=1000, deadline=None)
def test_masking_twice_is_masking_once(text: str) -> None:
    once = mask(text)
    assert mask(once) == once


@pytest.mark.parametrize("piece", ["1", "@", "1 ", "(1", "a.", "a@b.c1", "a@", "１"])
def test_a_megabyte_is_read_in_linear_time(piece: str) -> None:
    mask("13812345678")
    started = time.process_time()
    mask(piece * (1_000_000 // len(piece)) + "@")
    assert time.process_time() - started < 2, "patterns that backtrack would take hours"


def test_plain_texts_load_no_library() -> None:
    code = (
        "from recsys_core.parse.pii import mask; mask('10/10 since 2016'); mask('好玩'); print({'phonenumbers', 'stdnum'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
