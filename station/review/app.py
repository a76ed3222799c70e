"""Which address leads where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from importlib.resources import files
from typing import Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from station.contract.errors import CorrectionError, StationError
from station.database.changes import Changes
from station.printing import printable
from station.review import gallery, image, signatures
from station.review.asked import Asked
from station.review.desk import Desk
from station.review.live import POLL_SECONDS, Hub
from station.review.posting import Told, posted
from station.review.security import Door, Guard

_KINDS: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def application(desk: Desk, door: Door, stopping: Callable[[], bool], poll_seconds: float = POLL_SECONDS) -> Starlette:
    """The whole application. `stopping` says whether the server is about to end."""
    hub = Hub(changes := Changes(desk.store.path), stopping, poll_seconds)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            changes.close()

    return Starlette(
        routes=[
            Route("/", partial(_gallery, desk)),
            Route("/images/{image_id}", partial(_image, desk)),
            Route("/images/{image_id}/news", partial(_news, desk)),
            Route("/images/{image_id}/picture.jpg", partial(_picture, desk.pictures.whole)),
            Route("/images/{image_id}/thumbnail.jpg", partial(_thumbnail, desk)),
            Route("/images/{image_id}/corrections", posted(desk.secret, partial(_correct, desk)), methods=["POST"]),
            Route("/signatures", partial(_signatures, desk)),
            Route("/sign", partial(_sign_page, desk)),
            Route("/sign", posted(desk.secret, partial(_sign, desk)), methods=["POST"]),
            Route("/events", partial(_events, hub)),
            Route("/static/{name}", _static),
        ],
        middleware=[Middleware(Guard, door=door)],
        exception_handlers={StationError: partial(_failed, desk), HTTPException: partial(_refused, desk)},
        lifespan=lifespan,
    )


def _gallery(desk: Desk, request: Request) -> Response:
    asked, before = Asked.of(request.query_params), _number(request.query_params.get("before", ""))
    return HTMLResponse(gallery.gallery_page(desk, asked, before, whole="x-renewal" not in request.headers))


def _image(desk: Desk, request: Request) -> Response:
    page = image.image_page(desk, _image_id(request), Asked.of(request.query_params))
    if page is None:
        raise HTTPException(404, f"there is no image {request.path_params['image_id']}")
    return HTMLResponse(page)


def _news(desk: Desk, request: Request) -> Response:
    told = image.news(desk, _image_id(request), _number(request.query_params.get("seen", "")) or 0)
    if told is None:
        raise HTTPException(404, f"there is no counted image {request.path_params['image_id']}")
    return JSONResponse(told)


def _picture(made: Callable[[int], bytes | None], request: Request) -> Response:
    jpeg = made(_image_id(request))
    if jpeg is None:
        raise HTTPException(404, "no file holds this picture any more")
    return Response(jpeg, media_type="image/jpeg")


def _thumbnail(desk: Desk, request: Request) -> Response:
    jpeg = desk.pictures.thumbnail(_image_id(request))
    if jpeg is None:  # a page that shows a file which is gone is not broken
        return Response(_statics()["gone.svg"][0], media_type=_KINDS["svg"])
    return Response(jpeg, media_type="image/jpeg")


def _correct(desk: Desk, request: Request, told: Told) -> Response:
    return JSONResponse(image.corrected(desk, _image_id(request), told))


def _signatures(desk: Desk, _request: Request) -> Response:
    return HTMLResponse(signatures.list_page(desk))


def _sign_page(desk: Desk, request: Request) -> Response:
    return HTMLResponse(signatures.sign_page(desk, *signatures.subject_of(request.query_params)))


def _sign(desk: Desk, request: Request, told: Told) -> Response:
    subject, name = signatures.subject_of(request.query_params)
    try:
        signatures.signed(desk, subject, name, told)
    except CorrectionError as refusal:
        return HTMLResponse(signatures.sign_page(desk, subject, name, str(refusal)), 409)
    return RedirectResponse(f"/sign?{urlencode([(subject, name)])}", 303)


async def _events(hub: Hub, _request: Request) -> Response:
    if hub.is_full:
        raise HTTPException(503, "too many pages listen; close some")
    return StreamingResponse(hub.stream(), media_type="text/event-stream")


def _static(request: Request) -> Response:
    found = _statics().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404, "there is no such page")
    return Response(found[0], media_type=found[1])


@cache
def _statics() -> dict[str, tuple[bytes, str]]:
    """All that is served as it is. Nothing is ever looked up in a folder by a name that came in."""
    folder = files("station.review") / "static"
    kinds = ((one, _KINDS.get(one.name.rpartition(".")[2])) for one in folder.iterdir())
    return {one.name: (one.read_bytes(), kind) for one, kind in kinds if kind is not None}


def _image_id(request: Request) -> int:
    told = request.path_params["image_id"]
    number = _number(told)
    if number is None:
        raise HTTPException(404, f"there is no image {told[:20]}")
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _failed(desk: Desk, request: Request, failure: Exception) -> Response:
    """What a person asked for makes no sense, or the database cannot be used."""
    status = 400 if isinstance(failure, CorrectionError) else 500
    return _problem(desk, request, status, str(failure))


def _refused(desk: Desk, request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)
    return _problem(desk, request, failure.status_code, str(failure.detail))


def _problem(desk: Desk, request: Request, status: int, sentence: str) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(desk.page("problem", {"status": status, "sentence": sentence}), status)
    return PlainTextResponse(printable(sentence) + "\n", status)
