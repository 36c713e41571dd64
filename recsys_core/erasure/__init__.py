"""Forgetting people: out of delivered files and the lake, without computing anybody else's rows anew.

requests   who asked, under salted hashes alone, which also keep what is delivered again from being taken in
landing    their objects in delivered files become blanks
rows       their rows in the lake go; every table is covered in one way or another
"""

from __future__ import annotations

from recsys_core.erasure.requests import Erased, Request, erased

__all__ = ["Erased", "Request", "erased"]
