"""The context of a call: its identity for the tool, and the tool's reports of it."""

import inspect
import threading
import typing
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast, final

import anyio.from_thread
import anyio.lowlevel
import attrs

from turnlatch_states.api.resendable import mended

KEY_PARAMETER: Final = "idempotency_key"
"""A tool with a parameter of this name is given the call's stable key in it."""

REPORT_MAX: Final = 1_000
"""Longest report, in characters; the rest is cut off."""

REPORTS_KEPT: Final = 10
"""How many reports of a call the result of an interrupted call can repeat."""

PUBLISHED_AT_ONCE: Final = 20
"""How many reports of a call are published without a pause between them."""

PUBLISHED_PER_SECOND: Final = 10.0
"""How many reports of a call are published in a second after that."""

Deps = TypeVar("Deps")


@final
@attrs.frozen
class CallIdentity:
    """Which call it is.

    Attributes:
        id: The `tool_use` id; see `CallReport.id`.
        place: Its place in the record, which no other call of the conversation has;
            empty outside a conversation.
        name: The tool's name.
    """

    id: str
    place: str
    name: str


@final
@attrs.frozen(eq=False)
class ToolContext(Generic[Deps]):
    """The call that a tool runs for.

    A parameter of a tool whose type is `ToolContext`, or `ToolContext[MyDeps]`, gets it,
    whatever its name is. The model does not see that parameter.

    Attributes:
        conversation: The name of the conversation; empty outside one.
        turn: The number of the turn.
        call: Which call it is.
        key: The call's idempotency key: the same at every attempt, and unique.
        deps: What was given as `Conversation.open(..., deps=...)`; None by default.
    """

    conversation: str
    turn: int
    call: CallIdentity
    key: str
    deps: Deps = attrs.field(repr=False)
    _progress: "CallProgress" = attrs.field(repr=False)

    def report(self, progress: str) -> None:
        """Say how far the call has come.

        Watchers of the conversation get it as a `Progressed` event. It is not recorded;
        but if the call does not end (it is interrupted, or takes too long), the last
        reports stand in its result, for the model and the user. A crash of the process
        loses them. Any thread may call this, while the call runs; later
        reports are ignored.

        Args:
            progress: One line or more, of at most 1,000 characters; the rest is cut off.
                Blank text is ignored. After 20 reports, watchers get up to 10 of them a
                second.

        Raises:
            TypeError: `progress` is not text.
        """
        given = cast("object", progress)
        if not isinstance(given, str):
            problem = f"report() takes text, not {type(given).__name__}"
            raise TypeError(problem)
        self._progress.add(given)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Any value: the engine gives it, and no schema shows it."""
        from pydantic_core import core_schema

        return core_schema.any_schema()


@final
class CallProgress:
    """The reports of one call; to be made on the event loop.

    Args:
        publish: Called on the event loop for each report that watchers get.
        monotonic: A clock, in seconds; any thread reads it.
    """

    def __init__(
        self,
        publish: Callable[[str], None] = lambda _: None,
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._publish = publish
        self._monotonic = monotonic
        self._thread = threading.get_ident()
        self._token: Any = None
        self._lock = threading.Lock()
        self._kept: deque[str] = deque(maxlen=REPORTS_KEPT)
        self._count = 0
        self._left = float(PUBLISHED_AT_ONCE)
        self._since = monotonic()
        self._over = False

    def begin(self) -> None:
        """The call is about to run: other threads may report from here."""
        self._token = anyio.lowlevel.current_token()

    def end(self) -> None:
        """The call is over: nothing is reported any more."""
        with self._lock:
            self._over = True

    def add(self, text: str) -> None:
        """Keep a report, and publish it unless there are too many."""
        text = mended(text[:REPORT_MAX]).strip()
        if not text:
            return
        with self._lock:
            if self._over:
                return
            self._kept.append(text)
            self._count += 1
            if not self._may_publish():
                return
        if threading.get_ident() == self._thread:
            self._publish(text)
        elif self._token is not None:
            try:
                anyio.from_thread.run_sync(self._told, text, token=self._token)
            except anyio.RunFinishedError:
                return  # the event loop has ended, and with it every watcher

    def _told(self, text: str) -> None:
        if not self._over:
            self._publish(text)

    def _may_publish(self) -> bool:
        now = self._monotonic()
        gained = (now - self._since) * PUBLISHED_PER_SECOND
        self._left = min(float(PUBLISHED_AT_ONCE), self._left + gained)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def told(self) -> str:
        """The last reports, as a result says them; empty without reports."""
        with self._lock:
            kept, count = list(self._kept), self._count
        if not kept:
            return ""
        some = (
            f" (the last {len(kept)} of {count} reports)" if count > len(kept) else ""
        )
        lines = "\n".join(f"- {one}" for one in kept)
        return f"\nUntil then it had reported{some}:\n{lines}"


def progress_of(context: ToolContext[Any]) -> CallProgress:
    """The reports of a call."""
    return context._progress  # pyright: ignore[reportPrivateUsage]


def unattached(call_id: str, name: str, key: str) -> ToolContext[Any]:
    """The context of a call that runs outside a conversation."""
    return ToolContext(
        "", 0, CallIdentity(call_id, "", name), key, None, CallProgress()
    )


def context_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a function whose type is `ToolContext`."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - who reads the types says what is wrong with them
        return ()
    return tuple(
        name
        for name in inspect.signature(function).parameters
        if _is_context(hints.get(name))
    )


def _is_context(hint: object) -> bool:
    kind = typing.get_origin(hint) or hint
    return cast("object", kind) is ToolContext
