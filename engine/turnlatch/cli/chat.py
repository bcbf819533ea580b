"""`turnlatch chat`: a conversation in the terminal."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs
import click

from turnlatch.cli.main import SettingRefusedError, UnreadableError
from turnlatch.cli.terminal import forgive_encodings, survey

if TYPE_CHECKING:
    from turnlatch.cli.screen import Screen
    from turnlatch.cli.simulated import SimulatedModel
    from turnlatch.journal import SQLiteStore

IDLE_SECONDS: Final = 90.0
"""Longest silence within one attempt."""

SIMULATED_TOOL_USE: Final = 0.7
"""How likely the simulated model calls a tool that it may call."""

EXIT_TERMINATED: Final = 143


@attrs.frozen
class ChatOptions:
    """The options of the command."""

    name: str | None
    last: bool
    store: Path | None
    model: str | None
    system: str | None
    max_tokens: int | None
    base_url: str | None
    sim: bool
    seed: int | None
    faults: str | None
    files: Path | None
    ask: bool
    plain: bool


@click.command(epilog="The prompt's own commands are listed by /help.")
@click.argument("name", required=False)
@click.option(
    "-c", "--continue", "last", is_flag=True, help="The last used conversation."
)
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps the conversations.  [default: the platform's state folder]",
)
@click.option("--model", help="Model id.")
@click.option("--system", help="System prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="Most tokens of one reply.")
@click.option("--base-url", help="A compatible API somewhere else.")
@click.option(
    "--sim", is_flag=True, help="Use the simulator even if there are credentials."
)
@click.option("--seed", type=int, help="Seed of the simulator; implies --sim.")
@click.option(
    "--faults",
    metavar="SCRIPT",
    help="Faults to inject, such as '529 times 2'; implies --sim.",
)
@click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Let the model read the files of this folder, and nothing else.",
)
@click.option("--ask", is_flag=True, help="Ask before each tool call.")
@click.option("--plain", is_flag=True, help="ASCII lines only, no live footer.")
def chat(**given: Any) -> None:
    """Talk in a conversation that nothing can break.

    Without credentials the built-in simulator answers, and what it makes up is marked SIM.

    NAME is a conversation of the store, new or old; without it a new one is begun. Piped
    input is one message, and never a command.

    \b
    Examples:
        turnlatch chat notes
        turnlatch chat --faults "529 times 2, cut 3 stall"
        cat question.txt | turnlatch chat
    """
    options = ChatOptions(**given)
    if options.name is not None and options.last:
        raise click.UsageError("give NAME or -c, not both")
    simulated = options.sim or options.seed is not None or options.faults is not None
    if simulated and options.base_url is not None:
        raise click.UsageError(
            "--base-url is for a real API; --sim, --seed and --faults are not"
        )
    forgive_encodings()
    sys.exit(_run(options, simulated=simulated))


def default_store(environ: Mapping[str, str] = os.environ) -> Path:
    """The default store of conversations."""
    home = environ.get("TURNLATCH_HOME")
    if home:
        return Path(home) / "chat.db"
    state = environ.get("XDG_STATE_HOME")
    # The specification has relative paths ignored.
    base = Path(state) if state and Path(state).is_absolute() else None
    return (base or Path.home() / ".local" / "state") / "turnlatch" / "chat.db"


def _run(options: ChatOptions, *, simulated: bool) -> int:
    """Open everything, chat, and close everything in the reverse order."""
    from turnlatch.errors import JournalError, SettingsError
    from turnlatch.simulator.fault_text import FaultScriptError

    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        with contextlib.ExitStack() as stack:
            return _chat(options, stack, simulated=simulated)
    except (SettingsError, FaultScriptError) as error:
        raise SettingRefusedError(str(error)) from error
    except JournalError as error:
        raise UnreadableError(str(error)) from error
    finally:
        signal.signal(signal.SIGTERM, previous)


def _chat(options: ChatOptions, stack: contextlib.ExitStack, *, simulated: bool) -> int:
    # The window is taken first: what comes next imports the SDK, which takes a while.
    from turnlatch.cli.commands import run_command
    from turnlatch.cli.screen import LiveScreen, PlainScreen
    from turnlatch.cli.session import Footer, Session

    store = _open_store(options)
    stack.callback(store.close)
    fresh = not store.conversations()
    name = options.name or _name(store, last=options.last)
    terminal = survey(plain=options.plain)
    footer = Footer(terminal.look)
    screen: Screen
    screen = LiveScreen(terminal, footer) if terminal.live else PlainScreen(terminal)
    stack.callback(screen.close)
    runner = stack.enter_context(asyncio.Runner())
    model = _simulator(options, simulated=simulated)
    if model is not None:
        stack.callback(lambda: runner.run(model.aclose()))
    conversation = _conversation(options, name, store, model)
    runner.run(conversation.__aenter__())
    stack.callback(lambda: runner.run(conversation.close()))
    session = Session(
        chat=conversation,
        runner=runner,
        screen=screen,
        footer=footer,
        live=model is None,
        asks=terminal.asks,
        inject=None if model is None else model.inject,
        where=_short(store.path),
        told=store.notices,
        command=run_command,
        unasked=model is not None and not simulated,
    )
    session.welcome(version("turnlatch"))
    if fresh:  # later, /state tells them
        session.notices()
    return session.run()


def _conversation(
    options: ChatOptions,
    name: str,
    store: "SQLiteStore",
    model: "SimulatedModel | None",
) -> Any:
    from turnlatch.cli.files import file_tools
    from turnlatch.conversation import Conversation

    tools = None
    if options.files is not None:
        tools = file_tools(options.files, ask=options.ask)
    return Conversation.open(
        name,
        store=store,
        model=options.model,
        system=options.system,
        max_tokens=options.max_tokens,
        base_url=options.base_url,
        tools=tools,
        client=model,
        idle_timeout=IDLE_SECONDS,
    )


def _simulator(options: ChatOptions, *, simulated: bool) -> "SimulatedModel | None":
    """The simulator, if it answers; None if the API does."""
    from turnlatch.runtime.endpoint import is_set_up

    if not simulated and (options.base_url is not None or is_set_up()):
        return None
    from turnlatch.cli.simulated import SimulatedModel

    # `--files` asks for calls: the only tools of a chat read, in that folder alone.
    tool_use = 0.0 if options.files is None else SIMULATED_TOOL_USE
    return SimulatedModel(
        options.seed or 0, options.faults or "", IDLE_SECONDS, tool_use
    )


def _open_store(options: ChatOptions) -> "SQLiteStore":
    from turnlatch.errors import JournalError
    from turnlatch.journal import SQLiteStore

    path = options.store
    if path is None:
        path = default_store()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                str(path.parent), f"it cannot be made ({error.strerror})", "use --store"
            ) from error
    return SQLiteStore(path)


def _name(store: "SQLiteStore", *, last: bool) -> str:
    """The conversation that was last used, or a name for a new one."""
    from turnlatch.journal.listing import last_used_first

    known = [one.name for one in last_used_first(store.conversations())]
    if last:
        if not known:
            raise click.UsageError("there is no conversation to go on with yet")
        return known[0]
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while (name := stamp if number == 1 else f"{stamp}-{number}") in known:
        number += 1
    return name


def _short(path: str) -> str:
    """A path for people: `~` for their home."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path.startswith(home + os.sep) else path


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM: leave as after Ctrl-C, so that everything is closed."""
    sys.exit(EXIT_TERMINATED)
