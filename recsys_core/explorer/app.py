"""The explorer as an ASGI application: addresses, parameters, refusals and headers."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path as File
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_core.explorer import models, people, topics
from recsys_core.explorer.page import Page, compile_pages
from recsys_core.explorer.reads import HORIZONS, Night, Reads, Titles
from recsys_core.explorer.reads import Query as Ask
from recsys_core.explorer.words import LANGUAGES, Language, preferred
from recsys_core.warehouse import TransientError, WarehouseError

Source = Callable[[], AbstractContextManager[Ask]]
Gate = Callable[[Request], Awaitable[Response | None]]
HERE = File(__file__).parent / "pages"
# Nothing runs, nothing comes from elsewhere, and only Airflow's own pages may hold ours in a frame.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
SOME_USERS, MOST_WARNINGS = 10, 40
# What an error of the warehouse says, and the word of WORDS that names the remedy; the first that fits. Paths and roles stay in the log.
REMEDIES: tuple[tuple[str, str], ...] = (
    ("settings are wrong|a warehouse is duckdb", "bad_settings"),
    ("there is no warehouse at", "no_file"),
    ("permission denied", "no_right"),
    ("(role|database) .* does not exist|authentication failed|no password|pg_hba|translate host name", "no_entry"),
    ("does not exist|Catalog Error|Binder Error", "no_table"),
    ("timeout", "no_answer"),
)
_LOG = logging.getLogger(__name__)


def _date(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("a night is a date like 2026-03-01")
    return dt.date.fromisoformat(value)


Date = Annotated[dt.date, BeforeValidator(_date)]
Horizon = Literal["90d", "7d", "1d"]
UserKey = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
TopicId = Annotated[str, Path(pattern="^[0-9]{1,18}$")]
Version = Annotated[str, Field(max_length=200)]


class Asked(BaseModel):
    """What the address of any page may ask for; anything else is refused."""

    model_config = ConfigDict(extra="forbid")
    ds: Date | None = None


class AskedUser(Asked):
    horizon: Horizon = "90d"


class AskedWords(Asked):
    q: str = Field(max_length=100)


class AskedNights(BaseModel):
    model_config = ConfigDict(extra="forbid")
    before: Date
    after: Date
    horizon: Horizon = "90d"


class AskedModels(Asked):
    a: Version | None = None
    b: Version | None = None


def remedy(error: WarehouseError) -> str:
    """The word of WORDS that says what to do about it."""
    passing = "no_answer" if isinstance(error, TransientError) else "no_warehouse"
    return next((word for found, word in REMEDIES if re.search(found, str(error), re.IGNORECASE)), passing)


class Refusal(Exception):
    """What is not there to be shown: a word of WORDS says why."""


def create_app(source: Source, titles: Titles, gate: Gate) -> ASGIApp:
    """The application, to be mounted anywhere.

    source  opens the warehouse for one request: a context manager of `query(sql, params)`, which gives Arrow rows
    titles  what items of a night are called; those that it leaves out are shown by id
    gate    None for a request that may go on, else the response that it gets instead; asked first, whatever the address
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    def page(request: Request, language: Language, ds: dt.date | None, make: Callable[[Page, Reads, Night], str]) -> HTMLResponse:
        """The page that `make` makes of a night; a Refusal without it."""
        with source() as query:
            reads = Reads(query, titles)
            night = reads.night(ds)
            if night is None:
                raise Refusal("no_night" if reads.nights else "nothing_published")
            return HTMLResponse(make(Page(request, language, reads, night), reads, night))

    @app.get("/style.css")
    def style() -> Response:
        return Response((HERE / "style.css").read_bytes(), media_type="text/css", headers={"cache-control": "private, max-age=3600"})

    @app.get("/")
    def start(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/{preferred(request.headers.get('accept-language', ''))}/")

    @app.get("/{language}/")
    def home(request: Request, language: Language, asked: Annotated[Asked, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            current = [topic for topic in topics.topics_of(reads, night) if topic.current and not topic.parent]
            users = reads.rows("users", ds=night.ds, first="0", last="g", most=SOME_USERS)
            users = [reads.shown_in(user, "summary_en", "summary_zh") for user in users]
            return page.render("home", (), current=current, users=users)

        return page(request, language, asked.ds, make)

    @app.get("/{language}/find")
    def find(request: Request, language: Language, asked: Annotated[AskedWords, Query()]) -> HTMLResponse:
        words = asked.q.replace("\x00", " ").strip()

        def make(page: Page, reads: Reads, night: Night) -> str:
            users = people.find_users(reads, night.ds, words.lower())
            found = topics.find_topics(topics.topics_of(reads, night), words)
            return page.render("find", ("find",), {"q": words}, q=words, topics=found, users=users, most_users=people.MOST_USERS)

        return page(request, language, asked.ds, make)

    @app.get("/{language}/user/{user_key}")
    def user(request: Request, language: Language, user_key: UserKey, asked: Annotated[AskedUser, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            who = people.person(reads, night.ds, user_key, asked.horizon)
            if who is None:
                raise Refusal("no_user")
            kept = {"horizon": asked.horizon}
            return page.render("user", ("user", user_key), kept, who=who, horizons=HORIZONS, horizon=asked.horizon)

        return page(request, language, asked.ds, make)

    @app.get("/{language}/user/{user_key}/compare")
    def compare(request: Request, language: Language, user_key: UserKey, asked: Annotated[AskedNights, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            before = reads.night(asked.before)
            if before is None:
                raise Refusal("no_night")
            both = people.between(reads, user_key, before, night, asked.horizon)
            if both is None:
                raise Refusal("no_user")
            return page.render("compare", None, both=both, horizons=HORIZONS, horizon=asked.horizon)

        return page(request, language, asked.after, make)

    @app.get("/{language}/topics")
    def all_topics(request: Request, language: Language, asked: Annotated[Asked, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            found = topics.topics_of(reads, night)
            past = [topic for topic in found if not topic.current][: topics.MOST_FOUND]
            return page.render("topics", ("topics",), current=[topic for topic in found if topic.current], past=past)

        return page(request, language, asked.ds, make)

    @app.get("/{language}/topic/{topic_id}")
    def topic(request: Request, language: Language, topic_id: TopicId, asked: Annotated[Asked, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            found = topics.topic_page(reads, night, int(topic_id))
            if found is None:
                raise Refusal("no_topic")
            return page.render("topic", ("topic", topic_id), page=found)

        return page(request, language, asked.ds, make)

    @app.get("/{language}/visitors")
    def visitors(request: Request, language: Language, asked: Annotated[Asked, Query()]) -> HTMLResponse:
        return page(
            request,
            language,
            asked.ds,
            lambda page, reads, night: page.render("visitors", ("visitors",), held=people.visitors(reads, night.ds)),
        )

    @app.get("/{language}/models")
    def both_models(request: Request, language: Language, asked: Annotated[AskedModels, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            found = models.models_page(reads, night, asked.a, asked.b)
            if found is None:
                raise Refusal("no_model")
            kept = {name: value for name, value in (("a", asked.a), ("b", asked.b)) if value}
            return page.render("models", ("models",), kept, page=found)

        return page(request, language, asked.ds, make)

    @app.get("/{language}/nights")
    def nights(request: Request, language: Language, asked: Annotated[Asked, Query()]) -> HTMLResponse:
        def make(page: Page, reads: Reads, night: Night) -> str:
            warnings = reads.rows("warnings", ds=reads.nights[0].ds, most=MOST_WARNINGS)
            return page.render("nights", None, nights=reads.nights, status=reads.rows("status"), warnings=warnings)

        return page(request, language, asked.ds, make)

    def refused(request: Request, why: str, status: int) -> HTMLResponse:
        asked = request.path_params.get("language")
        known: Language = next((name for name in LANGUAGES if name == asked), preferred(request.headers.get("accept-language", "")))
        return HTMLResponse(Page(request, known).render("refused", None, why=why), status)

    @app.exception_handler(Refusal)
    def _(request: Request, error: Exception) -> Response:
        return refused(request, str(error), 404)

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: Exception) -> Response:
        return refused(request, "bad_params", 400)

    @app.exception_handler(HTTPException)
    def _(request: Request, error: Exception) -> Response:
        return refused(request, "no_page", 404)

    @app.exception_handler(WarehouseError)
    def _(request: Request, error: Exception) -> Response:
        _LOG.error("the explorer cannot read the warehouse: %s", error)
        assert isinstance(error, WarehouseError)
        return refused(request, remedy(error), 503)

    @app.exception_handler(Exception)  # is still raised, and so stands in the server's log
    def _(request: Request, error: Exception) -> Response:
        return refused(request, "no_reason", 500)

    compile_pages()
    return _Guarded(app, gate)


class _Guarded:
    """Asks the gate, refuses all but reading, and sends HEADERS with whatever is answered."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = {name for name, _ in message["headers"]}
                extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in held]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        instead = await self._gate(Request(scope, receive))
        if instead is None and scope["method"] != "GET":
            instead = Response("This is only read.\n", 405, {"allow": "GET"}, "text/plain")
        await (self._app if instead is None else instead)(scope, receive, with_headers)
