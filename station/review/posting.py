"""What a page sends: read up to a limit, as JSON or as a form, and only with the token that the page was given."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MOST_BYTES = 2_000_000  # a brush that passed over a whole field many times

Told: TypeAlias = dict[str, Any]


def posted(secret: str, handler: Callable[[Request, Told], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that hands on what was sent, off the event loop. The page's token is `csrf`, or a header of it."""

    async def endpoint(request: Request) -> Response:
        told = _told(request, await _body(request))
        given = request.headers.get("x-csrf-token") or str(told.pop("csrf", ""))
        if not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
            raise HTTPException(403, "this page was made by an earlier start of the station; load it again")
        return await run_in_threadpool(handler, request, told)

    return endpoint


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES} bytes were sent")
    return bytes(found)


def _told(request: Request, body: bytes) -> Told:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            told = json.loads(body)
        elif kind == "application/x-www-form-urlencoded":
            told = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)))
        else:
            raise HTTPException(415, "send JSON or a form")
    except (ValueError, RecursionError) as cause:
        raise HTTPException(400, "what was sent cannot be read") from cause
    if not isinstance(told, dict):
        raise HTTPException(400, "what was sent is no object")
    return told
