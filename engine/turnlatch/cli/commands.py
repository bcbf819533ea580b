"""The slash commands of a chat."""

import json
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, Final, cast

import attrs

from turnlatch.cli.hints import in_chat, miss_words, next_step
from turnlatch.cli.session import Session
from turnlatch.cli.terminal import one_line
from turnlatch.cli.transcript import SPEAKER, counted
from turnlatch.errors import SettingsError, TurnlatchError
from turnlatch.result import Turn
from turnlatch_states.api.faults import Fault
from turnlatch_states.fsm.printable import escape
from turnlatch_states.machine.turn import TURN


def run_command(session: Session, line: str) -> bool:
    """Run one line that begins with a slash; True to leave the chat.

    An error is shown on one line, and the chat continues.
    """
    name, _, rest = line[1:].partition(" ")
    if name in ("quit", "exit", "q"):
        return True
    command = COMMANDS.get(name)
    if command is None:
        session.note(
            f"unknown command /{one_line(name)}; /help lists the commands,"
            f" //{one_line(name)} sends the line to the model"
        )
        return False
    try:
        command.run(session, rest.strip())
    except TurnlatchError as error:
        session.refuse(error)
    return False


def _help(session: Session, rest: str) -> None:
    lines = [f"/{command.usage:<20} {command.help}" for command in COMMANDS.values()]
    lines += [
        f"/{'quit':<20} leave; so does Ctrl-D",
        f"{'//TEXT':<21} send a message that begins with a slash",
    ]
    if session.screen.ahead is not None:
        lines.append(f"{'TEXT meanwhile':<21} steer the running turn")
    session.note("\n".join(lines))


def _state(session: Session, rest: str) -> None:
    chat = session.chat
    turn = chat.turn
    if turn is None:
        session.note("no turn yet: the first message opens one")
        return
    state = TURN.state(turn.substate)
    where = f"{turn.state}, {state.name}" if state.parent else str(turn.state)
    to = f" {session.screen.look.glyph('to')} "
    first = turn.path[0].source if turn.path else str(turn.state)
    path = to.join([first, *(move.target for move in turn.path)])
    lines = [
        f"turn {turn.number} is {where}: {state.meaning}",
        f"path      {path}",
        f"rows here {', '.join(TURN.legal(turn.substate))}",
        f"history   {counted(turn.exchanges, 'confirmed exchange')};"
        f" {counted(turn.requests, 'request')} in this turn",
    ]
    if turn.remedies:
        lines.append(f"tried     {_remedies(turn)}")
    if missed := miss_words(turn):
        lines.append(f"cache     missed: {missed}")
    if chat.lost.replies:
        replies = counted(chat.lost.replies, "reply", "replies")
        lines.append(
            f"lost      {replies} that were paid for and are not in the history"
        )
    if chat.unsaved:
        lines.append(
            f"unsaved   {counted(chat.unsaved, 'event')} the store could not take yet"
        )
    session.note("\n".join(lines))
    session.notices()


def _diagram(session: Session, rest: str) -> None:
    # Imported here: most chats never draw.
    from turnlatch.diagrams import text

    turn = session.chat.turn
    drawn = text.draw(
        TURN,
        path=() if turn is None else turn.path,
        current=None if turn is None else turn.state,
        plain=session.screen.look.ascii,
    )
    session.note(drawn.rstrip("\n"), "plain", drawn=True)


def _history(session: Session, rest: str) -> None:
    shown = _number(rest, 10)
    chat = session.chat
    exchanges = list(chat.history)[-shown:]
    if not exchanges:
        session.note("nothing is confirmed yet")
    for exchange in exchanges:
        said = _texts(exchange.user)
        if said:
            session.note(f"you    > {_short(said)}", "plain")
        reply = exchange.reply
        for use in reply.tool_uses:
            session.note(f"called > {one_line(use.name)}")
        if reply.text:
            who = f"SIM {SPEAKER}" if reply.simulated else SPEAKER
            session.note(f"{who} > {_short(reply.text)}", "plain")


def _why(session: Session, rest: str) -> None:
    turn = session.chat.turn
    if turn is None or turn.fault is None:
        session.note("the last turn did not fail")
        return
    fault = turn.fault
    rows = [(name, value) for name, value in _facts(fault) if value is not None]
    lines = [f"{name:<10} {escape(str(value))}" for name, value in rows]
    lines.append(
        f"{'kept':<10} your message, {counted(turn.exchanges, 'confirmed exchange')}"
    )
    if turn.remedies:
        lines.append(f"{'tried':<10} {_remedies(turn)}")
    if turn.trials:
        asked = f"{counted(turn.trials, 'question')} to the server, without effect"
        lines.append(f"{'trials':<10} {asked}")
    if fault.outcome_unknown:
        lines.append(
            f"{'outcome':<10} unknown: the server may have answered, but no reply came"
        )
    lines.append(f"{'next':<10} {next_step(turn)}")
    lines.append(f"{'more':<10} /explain {fault.kind}")
    session.note("\n".join(lines))


def _remedies(turn: Turn) -> str:
    """The remedies of a turn, in order; repetitions in a row are shown once."""
    return ", ".join(remedy.value for remedy, _ in groupby(turn.remedies))


def _explain(session: Session, rest: str) -> None:
    # Imported here: most chats never ask.
    from turnlatch.cli.explain import explained, listed, unknown
    from turnlatch.cli.meanings import meanings

    look = attrs.evolve(session.screen.look, colour=False)
    width = session.screen.width() - 2
    if not rest:
        session.note(listed(look, width).rstrip("\n"), drawn=True)
        return
    found = meanings(rest)
    if not found:
        session.note(one_line(unknown(rest)))
        return
    session.note(explained(found, look, width, in_chat).rstrip("\n"), drawn=True)


def _facts(fault: Fault) -> list[tuple[str, object]]:
    return [
        ("kind", fault.kind.value),
        ("said", one_line(fault.message)),
        ("status", fault.status),
        ("type", fault.type),
        ("code", fault.code),
        ("path", fault.path),
        ("request", fault.request_id),
    ]


def _retry(session: Session, rest: str) -> None:
    session.turn(session.chat.retry)


def _compact(session: Session, rest: str) -> None:
    session.turn(session.chat.compact)


def _configure(session: Session, rest: str) -> None:
    name, _, value = rest.partition(" ")
    value = value.strip()
    if name not in _SETTINGS or not value:
        known = ", ".join(f"/configure {each}" for each in _SETTINGS.values())
        raise SettingsError("/configure", "no setting was given", f"use {known}")
    given: Any = _number(value, 1) if name == "max_tokens" else value
    chat = session.chat
    session.call(lambda: chat.configure(**{name: given}))
    session.note(f"from the next request on: {name} {one_line(value)}")


_SETTINGS: Final[Mapping[str, str]] = {
    "model": "model NAME",
    "max_tokens": "max_tokens N",
    "cache": "cache off|5m|1h",
    "threads": "threads off|on|auto",
}


def _undo(session: Session, rest: str) -> None:
    turns = _number(rest, 1)
    chat = session.chat
    before = len(chat.history)
    session.call(lambda: chat.rewind(turns=turns))
    left = counted(before - len(chat.history), "exchange")
    session.note(
        f"{left} left out from here on; the history has {len(chat.history)}, and"
        " nothing was deleted"
    )


def _fork(session: Session, rest: str) -> None:
    if not rest:
        raise SettingsError("/fork", "no name was given", "use /fork NAME")
    session.chat.fork(rest)
    session.note(
        f"{one_line(rest)} begins from here; you are still in"
        f" {one_line(session.chat.name)}. Open it: turnlatch chat {one_line(rest)}"
    )


def _check(session: Session, rest: str) -> None:
    found = session.chat.check()
    if not found:
        session.note("the next request breaks no rule")
    for one in found:
        session.note(one_line(f"{one.path}: {one.rule} {one.message}"), "yellow")


def _approve(session: Session, rest: str) -> None:
    session.turn(lambda: session.chat.approve(rest))


def _deny(session: Session, rest: str) -> None:
    id_, _, reason = rest.partition(" ")
    why = reason.strip() or "the user said no"
    session.turn(lambda: session.chat.deny(id_, why))


def _inject(session: Session, rest: str) -> None:
    if session.inject is None:
        raise SettingsError(
            "/inject", "the API answers in this chat", "use it with the simulator"
        )
    if not rest:
        raise SettingsError("/inject", "no fault was given", "use /inject 529 times 2")
    session.inject(rest)
    session.note(f"from the next request on: {one_line(rest)}")


def _number(text: str, default: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) < 10**6:
        raise SettingsError(
            "number", f"{text!r} is not a number from 1 to 999,999", "give one"
        )
    return int(text[:9])


def _texts(blocks: bytes) -> str:
    """The text blocks among encoded blocks, joined."""
    found = cast("list[dict[str, Any]]", json.loads(b"[" + blocks + b"]"))
    return " ".join(str(one["text"]) for one in found if one.get("type") == "text")


def _short(text: str) -> str:
    lines = escape(text).strip().split("\n")
    return "\n       ".join(lines[:8] + (["..."] if len(lines) > 8 else []))


@attrs.frozen
class _Command:
    usage: str
    help: str
    run: Callable[[Session, str], None]


COMMANDS: Final[Mapping[str, _Command]] = {
    command.usage.partition(" ")[0]: command
    for command in (
        _Command("help", "this list", _help),
        _Command("state", "the state of the turn, and the path it took", _state),
        _Command("diagram", "the turn machine, with the rows this turn took", _diagram),
        _Command("history [N]", "the last N confirmed exchanges", _history),
        _Command("why", "why the last turn failed, in full", _why),
        _Command(
            "explain [WHAT]", "the meaning of an error, and its remedies", _explain
        ),
        _Command("retry", "continue the turn that failed", _retry),
        _Command("undo [N]", "go back by N turns; nothing is deleted", _undo),
        _Command("fork NAME", "begin another conversation from here", _fork),
        _Command("compact", "replace the context by a summary of it", _compact),
        _Command(
            "configure NAME VALUE",
            "change model, max_tokens, cache or threads",
            _configure,
        ),
        _Command("check", "test the next request against the API's rules", _check),
        _Command("approve ID", "approve a call that waits", _approve),
        _Command("deny ID [WHY]", "deny a call that waits", _deny),
        _Command("inject FAULT", "make the simulator misbehave: 529 times 2", _inject),
    )
}
