"""The interest explorer in Airflow's menu, for whoever is logged in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import Thread
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/explorer"


@cache
def places() -> tuple[str, Any]:
    """The URL of the warehouse as the explorer reads it, and what items are called, as the settings say."""
    from jobs.settings import read_settings
    from recsys_core.explorer.titles import LakeTitles
    from recsys_core.lake import Lake

    settings = read_settings()
    return settings.warehouse_reader or settings.warehouse, LakeTitles(Lake(settings.lake))


@contextmanager
def source() -> Iterator[Any]:
    """The warehouse for one request; wrong settings are said to who asks for a page, and do not keep Airflow from starting."""
    from jobs.settings import SettingError
    from recsys_core.explorer.reads import opened
    from recsys_core.warehouse import WarehouseError

    try:
        url, _ = places()
    except (SettingError, ValueError) as error:
        raise WarehouseError(f"the settings are wrong: {error}") from error
    with opened(url) as query:
        yield query


async def logged_in(request: Any) -> Any:
    """None for a user of Airflow; a browser of anybody else is sent to the login, and anything else refused."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException
    from starlette.responses import PlainTextResponse, RedirectResponse

    manager = get_auth_manager()
    try:
        user = await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("Log in to Airflow, or send its token as Bearer.\n", 401, {"www-authenticate": "Bearer"})
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(manager.get_url_login(next_url=asked), 303)
    if not manager.is_authorized_view(access_view=AccessView.WEBSITE, user=user):
        return PlainTextResponse("Your role may not see this.\n", 403)
    return None


@cache
def explorer() -> Any:
    """The explorer as an ASGI application; None, and a line in the log, where this environment cannot read a warehouse."""
    try:
        from recsys_core.explorer.app import create_app
    except ImportError as error:
        logging.getLogger(__name__).error("the interest explorer is left out: %s; install the packages of docker/airflow.txt", error)
        return None
    Thread(target=warm_up, daemon=True).start()  # Airflow does not wait for a warehouse that does not answer
    return create_app(source, lambda ds, item_ids: places()[1](ds, item_ids), logged_in)


def warm_up() -> None:
    """Load what the first page would wait for; what is wrong is said to who asks for one."""
    from recsys_core.explorer.reads import Reads

    with suppress(Exception), source() as query:
        titles = places()[1]
        titles(Reads(query, titles).nights[0].ds, {""})  # of no item: the night's catalogue is read and kept


class InterestExplorer(AirflowPlugin):
    """A page of its own at /explorer/, and an entry of Airflow's menu that shows it there."""

    name = "interest_explorer"

    @property
    def fastapi_apps(self) -> list[Any]:
        """Asked for by the API server alone: every other process of Airflow loads plugins, too, and none of what they serve."""
        made = explorer()
        return [{"name": "interest explorer", "app": made, "url_prefix": PREFIX}] if made else []

    # Shown in a frame at /plugin/explorer/…, whose address follows the page's own.
    external_views: ClassVar[list[Any]] = [
        {"name": "Interests", "href": f"{PREFIX}/", "destination": "nav", "url_route": "explorer", "nav_top_level": True}
    ]
