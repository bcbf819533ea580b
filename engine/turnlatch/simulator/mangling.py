"""Applying a fault to a response that would have been fine."""

from typing import Final, assert_never

import attrs

from turnlatch.simulator.faults import (
    Action,
    CutEnding,
    CutEvents,
    CutPercent,
    Empty,
    ErrorEvent,
    ExpireThreads,
    Garbled,
    Html,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    Slow,
    Status,
)
from turnlatch.simulator.streaming import frame
from turnlatch.simulator.wire import NO_HEADERS, ApiResponse, Chunk, Ending, Refusal

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_MESSAGES: Final = {
    "api_error": "Internal server error",
    "overloaded_error": "Overloaded",
    "rate_limit_error": (
        "This request would exceed your organization's rate limit. Please try again"
        " later."
    ),
    "request_too_large": "Request exceeds the maximum size",
    "timeout_error": "Request timed out",
}


def refusal_of(action: Status) -> Refusal:
    """The error a scripted status answers with."""
    default = "api_error" if action.status >= 500 else "invalid_request_error"
    kind = action.type or _TYPES.get(action.status, default)
    message = _message(kind, action.message)
    paths = () if action.paths is None else (("paths", action.paths.split(",")),)
    return Refusal(action.status, kind, message, action.code, details=paths)


def replaces(action: Action) -> bool:
    """Whether the request is never processed: the answer comes from before the API."""
    return isinstance(action, Status | Html | Empty | NoAnswer)


def html_page(status: int) -> bytes:
    """The error page of a proxy."""
    page = (
        f"<html>\r\n<head><title>{status} Error</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} Error</h1></center>\r\n<hr>"
        "<center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
    return page.encode()


def mangle(response: ApiResponse, action: Action, request_id: str) -> ApiResponse:
    """The response as the fault leaves it.

    Args:
        response: A whole reply, plain (one chunk) or streamed (one event a chunk).
        action: The fault. One that does not apply to such a response changes nothing.
        request_id: For an `error` event.
    """
    match action:
        case Slow("headers", seconds):
            return attrs.evolve(
                response, delay_seconds=response.delay_seconds + seconds
            )
        case Slow(_, seconds):
            slowed = tuple(
                Chunk(each.delay_seconds + seconds, each.data)
                for each in response.chunks
            )
            return attrs.evolve(response, chunks=slowed)
        case CutEvents(events, ending):
            if not _is_stream(response):
                return response
            return _ended(response, response.chunks[:events], ending)
        case CutPercent(percent, ending):
            return _ended(response, _portion(response, percent), ending)
        case ErrorEvent(kind, after, message):
            if not _is_stream(response):
                return response
            event = error_event(kind, _message(kind, message), request_id)
            return attrs.evolve(
                response, chunks=(*response.chunks[:after], Chunk(0.0, event))
            )
        case Garbled(how):
            return _garbled(response, how == "truncated")
        case (
            Status()
            | Html()
            | Empty()
            | NoAnswer()
            | RuleSwitch()
            | LimitChange()
            | ExpireThreads()
        ):
            return response
        case _:
            assert_never(action)


def no_answer(action: NoAnswer) -> ApiResponse:
    """A response whose connection ends before the headers."""
    return ApiResponse(NO_HEADERS, (), (), action.ending)


def error_event(kind: str, message: str, request_id: str) -> bytes:
    """An `error` event of a stream."""
    error = {"details": None, "type": kind, "message": message}
    return frame({"type": "error", "error": error, "request_id": request_id})


def _message(kind: str, message: str | None) -> str:
    return _MESSAGES.get(kind, "Error") if message is None else message


def _is_stream(response: ApiResponse) -> bool:
    return (response.header("content-type") or "").startswith("text/event-stream")


def _ended(
    response: ApiResponse, chunks: tuple[Chunk, ...], ending: CutEnding
) -> ApiResponse:
    if ending == "clean":
        return _resized(attrs.evolve(response, chunks=chunks))
    how: Ending = ending
    return attrs.evolve(response, chunks=chunks, ending=how)


def _portion(response: ApiResponse, percent: int) -> tuple[Chunk, ...]:
    left = sum(len(chunk.data) for chunk in response.chunks) * percent // 100
    kept: list[Chunk] = []
    for chunk in response.chunks:
        if left <= 0:
            break
        kept.append(Chunk(chunk.delay_seconds, chunk.data[:left]))
        left -= len(chunk.data)
    return tuple(kept)


def _garbled(response: ApiResponse, truncated: bool) -> ApiResponse:
    if not _is_stream(response):
        body = response.body
        data = body[: len(body) // 2] if truncated else b'{"id": nope}'
        return _resized(attrs.evolve(response, chunks=(Chunk(0.0, data),)))
    middle = len(response.chunks) // 2
    head, _, rest = response.chunks[middle].data.partition(b"\ndata: ")
    data = rest[: len(rest) // 2] if truncated else b'{"type": nope}'
    broken = Chunk(0.0, head + b"\ndata: " + data + b"\n\n")
    return attrs.evolve(response, chunks=(*response.chunks[:middle], broken))


def _resized(response: ApiResponse) -> ApiResponse:
    """The response with a `content-length` that fits, where it has one."""
    size = str(len(response.body))
    headers = tuple(
        (name, size if name == "content-length" else value)
        for name, value in response.headers
    )
    return attrs.evolve(response, headers=headers)
