"""Known vulnerabilities fail the audit, waivers have an end, and silence of the advisory service is never taken for soundness."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from docker.audit import AuditError, faults, main, waivers

TODAY = dt.date(2026, 11, 26)
ADVISORY = {
    "schema_version": "1.6.0",
    "id": "GHSA-462w-v97r-4m45",
    "aliases": ["CVE-2019-10906", "PYSEC-2019-217"],
    "summary": "Jinja2 sandbox escape via string formatting",
    "published": "2019-04-10T14:30:24Z",
    "modified": "2024-09-24T19:53:20Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
        }
    ],
}


class Osv(BaseHTTPRequestHandler):
    """Knows one advisory, of Jinja2 before 2.10.1."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        hit = asked["package"]["name"] == "jinja2" and asked["version"] == "2.10"
        data = json.dumps({"vulns": [ADVISORY]} if hit else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(folder: Path, url: str, pins: str, waived: str = "") -> int:
    (folder / "requirements.txt").write_text(pins)
    (folder / "waivers.toml").write_text(waived)
    names = {"requirements": "requirements.txt", "waivers": "waivers.toml", "sbom": "out/sbom.json"}
    return main([*(word for name, file in names.items() for word in (f"--{name}", str(folder / file))), "--osv-url", url])


def test_a_known_vulnerability_fails_until_it_is_waived(osv: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(tmp_path, osv, "jinja2==2.10\nclick==8.1.7\n") == 1
    said = capsys.readouterr().out
    assert "jinja2 2.10: PYSEC-2019-217 (fixed in 2.10.1): Jinja2 sandbox escape" in said
    assert "nothing is known" not in said
    waived = '[CVE-2019-10906]\nreason = "no template of strangers"\nuntil = 2999-01-01\n'
    assert audit(tmp_path, osv, "jinja2==2.10\n", waived) == 0
    assert audit(tmp_path, osv, "jinja2==2.10.1\n", waived) == 1
    assert "waiver CVE-2019-10906 is of no use: no pinned package has it" in capsys.readouterr().out
    bill = json.loads((tmp_path / "out" / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert [(c["name"], c["version"]) for c in bill["components"]] == [("jinja2", "2.10.1")]


def test_a_service_that_does_not_answer_is_no_clean_bill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(tmp_path, "http://127.0.0.1:9/v1/query", "click==8.1.7\n") == 2
    said = capsys.readouterr()
    assert "audit: the advisories at http://127.0.0.1:9/v1/query could not be asked, so nothing is known of any package" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert "nothing is known against" not in said.out


def test_waivers_have_a_reason_and_an_end() -> None:
    found = [{"package": "a", "version": "1", "ids": ["GHSA-1", "CVE-1"], "fixed": [], "text": "bad"}]
    waived = waivers('[CVE-1]\nreason = "not called"\nuntil = 2026-11-26\n')
    assert faults(found, waived, TODAY) == []
    assert faults(found, waived, TODAY + dt.timedelta(days=1)) == [
        "a 1: GHSA-1 (not fixed yet): bad",
        "waiver CVE-1 has run out on 2026-11-26",
    ]
    for bad in ('[x]\nreason = ""\nuntil = 2026-01-01\n', "[x]\nuntil = 2026-01-01\n", '[x]\nreason = "y"\nuntil = "soon"\n'):
        with pytest.raises(AuditError, match="waiver x: write reason"):
            waivers(bad)


def test_the_checked_in_waivers_can_be_read(repo_root: Path) -> None:
    waivers((repo_root / "docker" / "waivers.toml").read_text(encoding="utf-8"))
