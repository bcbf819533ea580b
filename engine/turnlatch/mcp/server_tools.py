"""Tools of MCP servers, through the official client: `pip install turnlatch[mcp]`.

    async with mcp_tools("http://127.0.0.1:8000/mcp") as tools:
        async with Conversation.open("notes", tools=[tools, my_own]) as chat:
            ...

The connection is a declared machine (`turnlatch_states/machine/connection.py`).
"""

import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast, final, get_args

import anyio
from anyio.abc import TaskGroup, TaskStatus

from turnlatch.errors import (
    CorrectableToolError,
    McpServerError,
    OutcomeUnknownError,
    SettingsError,
    ToolDefinitionError,
    words,
)
from turnlatch.logs import LOG_CALLER
from turnlatch.mcp.content import RESULT_MAX, content_of, size_of
from turnlatch.tools import Tool, tool
from turnlatch.tools.context import ToolContext
from turnlatch.tools.definition import Effect
from turnlatch_states.machine.connection import CONNECTION, ConnectionState

if TYPE_CHECKING:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.client import Client

TOOLS_MAX: Final = 256
"""Most tools of one server."""

PAGES_MAX: Final = 32
"""Most pages of a server's list of tools."""

DESCRIPTION_MAX: Final = 8_192
"""Longest description of a tool, in characters; the rest is cut off."""

ANSWER_SECONDS: Final = 30.0
"""How long a server may take to connect, to list its tools, or to say that it lives."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LOST: Final = frozenset({-32000, -32001})
"""Codes of the client: the connection was closed, no answer came in time."""


def mcp_tools(
    server: "ClientSession | Client | StdioServerParameters | str",
    *,
    effects: Mapping[str, Effect] | None = None,
    timeout: float = 60.0,
) -> "McpTools":
    """The tools of an MCP server, for `Conversation.open(tools=[...])`.

    A tool has the effect `safe` where the server says that it only reads
    (`readOnlyHint`), and `once` otherwise. A server's word is a hint, not a promise: a
    `safe` call is made again after a crash. Name in `effects` what you know better, such
    as `{"delete_file": "ask"}`.

    Args:
        server: The URL of a server (streamable HTTP), how to start one (stdio), or a
            session that you have opened. A server that turnlatch connects to is
            connected to again after it died. A session is yours: `await mcp_tools(session)`
            is enough, and `await tools.refresh()` reads its tools again.
        effects: Effects by the name of the tool, instead of those that the server hints.
        timeout: Seconds for each call.

    Raises:
        SettingsError: An argument is not allowed, or the package `mcp` is missing.
            Entering raises it for `effects` that name no tool of the server, and raises:
        McpServerError: The server cannot be reached, or lists what cannot be offered.
    """
    if find_spec("mcp") is None:  # said here, not at the first call
        raise SettingsError(
            "server", "the package mcp is missing", "pip install 'turnlatch[mcp]'"
        )
    given: dict[str, Effect] = dict(effects or {})
    for name, effect in given.items():
        if effect not in get_args(Effect):
            raise SettingsError(
                "effects",
                f"{effect!r} of {name!r} is not an effect",
                "see tool(effect=)",
            )
    return McpTools(server, given, timeout)


@final
class McpTools:
    """The tools of one MCP server; `mcp_tools` makes it.

    It stands in `tools=[...]` of a conversation as it is: after a change of the server's
    tools the next request offers the new ones. `tools.offered` are the present tools.

    Attributes:
        offered: The tools that are offered.
        left_out: Tools of the server that are not offered, by name, and the reason.
        version: Grows with each change of `offered`.
        state: The state of the connection.
    """

    def __init__(
        self, server: Any, effects: Mapping[str, Effect], timeout: float
    ) -> None:
        self._server = server
        self._effects = effects
        self._timeout = timeout
        self._is_session = hasattr(server, "call_tool")
        self._session: Any = server if self._is_session else None
        self._group: TaskGroup | None = None
        self._over = anyio.Event()
        self._lock = anyio.Lock()
        self.offered: tuple[Tool, ...] = ()
        self.left_out: Mapping[str, str] = {}
        self.version = 0
        self.state = ConnectionState.NEW

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        try:
            await self._connect()
            self._demand_effects()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.state is not ConnectionState.CLOSED:
            self._fire("close")
        self._over.set()
        group, self._group = self._group, None
        if group is not None:
            await group.__aexit__(None, None, None)

    def __await__(self) -> Generator[Any, None, Self]:
        return self._entered().__await__()

    async def _entered(self) -> Self:
        if not self._is_session:
            raise SettingsError(
                "server",
                "this connection has to be closed again",
                "use `async with mcp_tools(...) as tools`",
            )
        await self._connect()
        self._demand_effects()
        return self

    async def refresh(self) -> None:
        """Read the server's list of tools again; a lost server that answers is ready.

        Raises:
            McpServerError: The server does not answer, or lists what cannot be offered;
                the former tools stay offered. Or the connection is closed.
        """
        if self.state in (ConnectionState.NEW, ConnectionState.CLOSED):
            raise McpServerError(self._name, f"the connection is {self.state}")
        await self._list(self._session)

    # The connection.

    def _fire(self, trigger: str) -> None:
        row = CONNECTION.fire(self.state, trigger, not self._is_session, None)
        self.state = ConnectionState(row.target)

    async def _connect(self) -> None:
        self._fire("connect")
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                if self._is_session:
                    await self._list(self._session)
                else:
                    assert self._group is not None, "it was entered"
                    self._over = anyio.Event()
                    await self._group.start(self._serve, self._over)
        except McpServerError:
            self._lose()
            raise
        except Exception as error:
            self._lose()
            raise McpServerError(
                self._name, f"it does not answer: {_said(error)}"
            ) from error

    def _lose(self) -> None:
        """The server does not answer: its connection is let go."""
        if self.state in (ConnectionState.CONNECTING, ConnectionState.READY):
            self._fire("lose")
        self._over.set()

    async def _serve(self, over: anyio.Event, *, task_status: TaskStatus[None]) -> None:
        """Hold one connection open until it is let go; in a task, as the client demands."""
        told = False
        try:
            async with self._client(over) as client:
                await self._list(client.session)
                self._session = client.session
                told = True
                task_status.started()
                await over.wait()
        except Exception:
            if not told:
                raise
            LOG_CALLER.debug("an MCP connection ended with an error", exc_info=True)

    @asynccontextmanager
    async def _client(self, over: anyio.Event) -> AsyncGenerator[Any]:
        from mcp.client.client import Client

        async def heard(message: Any) -> None:
            changed = (
                getattr(message, "method", "") == "notifications/tools/list_changed"
            )
            if changed and self._group is not None and not over.is_set():
                self._group.start_soon(self._changed)

        client = Client(self._server, message_handler=heard, mode="legacy", cache=None)
        async with cast("AbstractAsyncContextManager[Any]", client) as opened:
            yield opened

    async def _changed(self) -> None:
        try:
            await self.refresh()
        except Exception:
            LOG_CALLER.exception("the changed tools of %s are not offered", self._name)

    async def _ready(self) -> None:
        """Demand a server that answers; a lost one is connected to again.

        Raises:
            CorrectableToolError: The server does not answer; nothing was sent.
        """
        async with self._lock:
            if self.state is ConnectionState.READY and await self._alive():
                return
            if self.state is ConnectionState.READY:
                self._lose()
            try:
                if self.state is ConnectionState.LOST and not self._is_session:
                    return await self._connect()
            except McpServerError as error:
                raise CorrectableToolError(f"Not executed: {error}") from error
        raise CorrectableToolError(
            f"Not executed: the connection to {self._name} is {self.state}."
        )

    async def _alive(self) -> bool:
        from mcp.shared.exceptions import MCPError
        from mcp.types import METHOD_NOT_FOUND

        if self._is_session:
            return True  # it is the caller's to hold
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await self._session.send_ping()
        except MCPError as error:
            return error.code == METHOD_NOT_FOUND  # that is an answer, too
        except Exception:  # noqa: BLE001 - whatever a broken transport raises
            return False
        return True

    @property
    def _name(self) -> str:
        if self._is_session:
            return "the MCP server"
        command = getattr(self._server, "command", None)
        return f"the MCP server {command or 'at its URL'}"

    # The tools.

    def _demand_effects(self) -> None:
        known = {one.name for one in self.offered} | set(self.left_out)
        for name in self._effects:
            if name not in known:
                raise SettingsError(
                    "effects",
                    f"the server has no tool {name!r}",
                    "name one that it has",
                )

    async def _list(self, session: Any) -> None:
        """Read the list of tools, and offer them.

        Raises:
            McpServerError: There are too many, or the server does not answer.
        """
        from mcp.types import PaginatedRequestParams

        listed: list[Any] = []
        cursor: str | None = None
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                for _ in range(PAGES_MAX):
                    params = PaginatedRequestParams(cursor=cursor) if cursor else None
                    page = await _page(session, cursor, params)
                    listed += page.tools
                    cursor = page.next_cursor
                    if not cursor or len(listed) > TOOLS_MAX:
                        break
        except Exception as error:
            raise McpServerError(
                self._name, f"its tools cannot be listed: {_said(error)}"
            ) from error
        if cursor or len(listed) > TOOLS_MAX:
            raise McpServerError(self._name, f"it has more than {TOOLS_MAX} tools")
        await self._offer(listed)
        self._fire("list")

    async def _offer(self, listed: list[Any]) -> None:
        offered: dict[str, Tool] = {}
        left_out: dict[str, str] = {}
        for one in listed:
            await anyio.lowlevel.checkpoint()  # schemas take their time
            name = one.name[:128]
            if name in offered:
                left_out[name] = "the server lists two tools of this name"
                continue
            try:
                offered[name] = self._declared(one)
            except ToolDefinitionError as error:
                left_out[name] = str(error)
        for name, why in left_out.items():
            LOG_CALLER.warning(
                "a tool of %s is not offered: %r: %s", self._name, name, why
            )
        self.left_out = left_out
        was = {one.name: (one.definition, one.effect) for one in self.offered}
        if was != {one.name: (one.definition, one.effect) for one in offered.values()}:
            self.offered = tuple(offered.values())
            self.version += 1

    def _declared(self, listed: Any) -> Tool:
        """One tool of the server, as ours."""
        name: str = listed.name
        hints = listed.annotations
        hinted: Effect = (
            "safe" if hints is not None and hints.read_only_hint else "once"
        )
        said = listed.description or listed.title or (hints and hints.title) or ""

        async def run(turnlatch_context: ToolContext[Any], **arguments: Any) -> object:
            return await self._call(name, arguments, turnlatch_context)

        return tool(
            run,
            name=name,
            description=_CONTROLS.sub(" ", said[:DESCRIPTION_MAX]).strip() or name,
            schema={"type": "object", **listed.input_schema},
            effect=self._effects.get(name, hinted),
            timeout=self._timeout,
        )

    async def _call(
        self, name: str, arguments: dict[str, Any], context: ToolContext[Any]
    ) -> object:
        from anthropic.lib.tools import ToolError
        from mcp.shared.exceptions import MCPError

        async def progressed(
            progress: float, total: float | None, message: str | None
        ) -> None:
            share = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
            context.report(_CONTROLS.sub(" ", f"{share} {message or ''}"))

        await self._ready()
        session = self._session
        try:
            result = await session.call_tool(
                name, arguments, progress_callback=progressed
            )
        except MCPError as error:
            if error.code in _LOST or not _is_answer(error):
                self._lose()
                raise OutcomeUnknownError(
                    f"The connection to {self._name} was lost ({error})"
                ) from error
            raise CorrectableToolError(
                f"{self._name} refused the call: {error}"
            ) from error
        except Exception as error:
            if self._is_session:
                said = f"The call of {self._name} failed ({_said(error)})"
                raise OutcomeUnknownError(said) from error
            self._lose()
            said = f"The connection to {self._name} was lost ({_said(error)})"
            raise OutcomeUnknownError(said) from error
        if size_of(result) > RESULT_MAX:
            raise CorrectableToolError(
                f"The tool ran, but its result has more than {RESULT_MAX:,} characters."
                " It may have had its effect; check before repeating it."
            )
        content = content_of(result)
        if result.is_error:
            raise ToolError(cast("Any", content.blocks))
        return content


async def _page(session: Any, cursor: str | None, params: Any) -> Any:
    """One page of the list, of a session or of the package's `Client`."""
    if hasattr(session, "session"):
        return await session.list_tools(cursor=cursor)
    return await session.list_tools(params=params)


def _is_answer(error: Exception) -> bool:
    """True unless the client wrote the error for a server that did not answer."""
    said = str(error)
    return said not in ("Session terminated", "Server returned an error response")


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return words(error) or type(error).__name__


__all__ = ["McpTools", "mcp_tools"]
