"""`turnlatch check`: what the Messages API would refuse in a transcript or a request."""

import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, NoReturn, TypeGuard

import attrs
import click

from turnlatch.cli.inputs import read_file
from turnlatch.cli.terminal import one_line
from turnlatch_states.api.betas import KNOWN_BETAS, can_be_a_beta
from turnlatch_states.api.models import spec
from turnlatch_states.api.rules import (
    RULES,
    VERSION_2026,
    Context,
    Finding,
    advice,
    explain,
)
from turnlatch_states.api.rules import check as findings

MODEL_DEFAULT = "claude-sonnet-5-5"
"""The model a bare array is held against, unless one is named."""

BYTES_MAX = 64 * 1024 * 1024
"""Most bytes that are read; the API takes 32 MB, and a transcript may hold more."""

_NOT_READABLE = 7
_RULE_IDS = tuple(rule.id for rule in RULES)
_ACCEPTED_TOO = "the API has been seen to accept it, other servers may refuse it"
_UNSEEN = ", ".join(rule.id for rule in RULES if rule.unseen)


class _Unreadable(click.ClickException):
    """The input is neither a request nor a transcript."""

    exit_code = _NOT_READABLE


class _Input(NamedTuple):
    """What was read: a request body, and whether it was a bare array."""

    body: Mapping[str, object]
    bare: bool


def _rule_ids(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> frozenset[str] | None:
    if value is None:
        return None
    named = frozenset(part.strip().upper() for part in value.split(",") if part.strip())
    unknown = sorted(named.difference(_RULE_IDS))
    if unknown:
        listed = ", ".join(unknown)
        raise click.BadParameter(f"no rule {listed}; there are R1 to R{len(_RULE_IDS)}")
    return named


def _dated(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> str | None:
    if value is not None and re.fullmatch(r"20\d\d-\d\d-\d\d", value, re.ASCII) is None:
        raise click.BadParameter(f"{value!r} is not a date; give {VERSION_2026}")
    return value


def _explained(
    context: click.Context, _option: click.Parameter, value: str | None
) -> None:
    if value is None or context.resilient_parsing:
        return
    try:
        text = explain(value.strip().upper())
    except KeyError:
        reason = f"no rule {value}; there are R1 to R{len(_RULE_IDS)}"
        raise click.BadParameter(reason) from None
    click.echo(text, nl=False)
    context.exit()


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How findings are printed.",
)
@click.option(
    "--select", callback=_rule_ids, metavar="R8,R9", help="Report only these rules."
)
@click.option(
    "--ignore", callback=_rule_ids, metavar="R8,R9", help="Leave these rules out."
)
@click.option(
    "--explain",
    callback=_explained,
    is_eager=True,
    expose_value=False,
    metavar="R8",
    help="Say what a rule means and what to do about it.",
)
@click.option("--model", metavar="NAME", help="Hold it against this model.")
@click.option(
    "--beta",
    "betas",
    multiple=True,
    metavar="NAME",
    help="A value of the anthropic-beta header; may be repeated.",
)
@click.option(
    "--api-version",
    "version",
    metavar="DATE",
    show_default=VERSION_2026,
    callback=_dated,
    help="The value of the anthropic-version header.",
)
def check(
    file: str,
    form: str,
    select: frozenset[str] | None,
    ignore: frozenset[str] | None,
    model: str | None,
    betas: tuple[str, ...],
    version: str | None,
) -> None:
    """Check a request against the rules of the API.

    FILE is a JSON array of messages or a whole request body; - reads standard input.
    Ends with 0 without findings, 1 with findings, 7 if FILE is neither. A form that the
    API has been seen to accept is a note. Facts that only the server knows, such as the
    length of a prompt, are not checked.

    \b
    Example:
        turnlatch check transcript.json --model claude-opus-5
    """
    shown = "<stdin>" if file == "-" else file
    read = _read(file, shown, model)
    only = frozenset(select or _RULE_IDS) - (ignore or frozenset())
    context = Context(
        betas=frozenset(betas),
        body_bytes=None if read.bare else _sent_bytes(read.body),
        version=version or VERSION_2026,
        model=spec(model),
    )
    named = read.body.get("model") if model is None else model
    for note in _notes(named, betas):
        click.echo(one_line(f"{shown}: note: {note}"), err=True)
    judged = list(_found(read, context, only))
    found = [each for each in judged if not each.accepted_too]
    for each in judged:
        if each.accepted_too:
            told = f"{shown}: note: {each.rule} {each.message}; {_ACCEPTED_TOO}"
            click.echo(one_line(told), err=True)
    if form == "json":
        click.echo(json.dumps([_as_object(shown, each) for each in found], indent=2))
    else:
        for each in found:
            click.echo(_as_text(shown, each))
        if not found:
            click.echo(one_line(f"{shown}: {_nothing(read, model, version)}"))
    if found:
        sys.exit(1)


def _notes(model: object, betas: Collection[str]) -> Iterator[str]:
    """Notes on parts that could not be checked, because a name is unknown."""
    if isinstance(model, str) and spec(model) is None:
        yield (
            f"model {model!r} is not known here: it is held only to the rules that hold"
            " for all models"
        )
    for name in betas:
        if not can_be_a_beta(name):
            yield f"{name!r} cannot be the name of a beta: the API refuses the header"
        elif name not in KNOWN_BETAS:
            yield f"beta {name!r} is not known here: what it allows is not"


def _nothing(read: _Input, model: str | None, version: str | None) -> str:
    """That nothing was found, in what, and what was not looked at."""
    messages = read.body["messages"]
    count = len(messages) if _is_array(messages) else 0
    named = model or read.body.get("model")
    of = f"{named}{' (assumed)' if read.bare and model is None else ''}"
    dated = version or f"{VERSION_2026} (assumed)"
    alone = ", nor is its last message (R7)" if read.bare else ""
    return (
        f"{count} message{'' if count == 1 else 's'} read, nothing found"
        f" for {of} at anthropic-version {dated}; what only the server can tell is not"
        f" judged ({_UNSEEN}){alone}"
    )


def _found(read: _Input, context: Context, only: Collection[str]) -> Iterator[Finding]:
    # A transcript is a record: it may end on the assistant, and its frame is ours.
    left_out = {"R2", "R7"} if read.bare else set[str]()
    yield from findings(read.body, context, only=set(only) - left_out)


def _read(file: str, shown: str, model: str | None) -> _Input:
    value = _parsed(_bytes(file, shown), shown)
    if _is_array(value):
        frame = {"model": model or MODEL_DEFAULT, "max_tokens": 1024}
        return _Input({**frame, "messages": value}, bare=True)
    if not _is_body(value):
        _fail(
            shown,
            "neither an array of messages nor an object with `messages`",
            "give the messages array or the whole request body",
        )
    return _Input(value, bare=False)


def _bytes(file: str, shown: str) -> bytes:
    try:
        data = read_file(file, BYTES_MAX)
    except OSError as error:
        _fail(shown, error.strerror or str(error), "name a file that can be read")
    if data is None:
        what = (
            f"larger than {BYTES_MAX // 2**20} MiB, and no request may be half of that"
        )
        _fail(shown, what, "give a part of it")
    return data


def _is_array(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_body(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict) and "messages" in value


def _sent_bytes(body: Mapping[str, object]) -> int:
    """The size of the body as the SDK would write it."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def _parsed(raw: bytes, shown: str) -> object:
    twice: set[str] = set()

    def made(pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice.update(name for name, count in counts.items() if count > 1)
        return value

    try:
        value: object = json.loads(
            raw.decode("utf-8-sig"), object_pairs_hook=made, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        _fail(shown, f"not UTF-8 at byte {error.start}", "save it as UTF-8 JSON")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        _fail(shown, f"not JSON: {error.msg} at {where}", "save it as JSON")
    except RecursionError:
        _fail(shown, "nested too deeply to be read", "give a flatter document")
    except ValueError as error:
        _fail(shown, f"not strict JSON: {error}", "save it as strict JSON")
    for name in sorted(twice):
        note = f"{shown}: note: the key {name!r} stands twice in one object"
        click.echo(one_line(f"{note}; the last one was read"), err=True)
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _fail(shown: str, what: str, remedy: str) -> NoReturn:
    raise _Unreadable(f"{one_line(shown)}: {one_line(what)}; {remedy}")


def _as_text(shown: str, finding: Finding) -> str:
    place = f"{finding.path}: " if finding.path else ""
    where = f" ({', '.join(finding.related)})" if _places(finding) else ""
    line = one_line(f"{shown}: {place}{finding.rule} {finding.reason}{where}")
    return f"{line}\n  help: {one_line(advice(finding))}"


def _places(finding: Finding) -> bool:
    """The reason does not say yet what `related` says."""
    return any(each and each not in finding.reason for each in finding.related)


def _as_object(shown: str, finding: Finding) -> dict[str, object]:
    return {
        "file": shown,
        **attrs.asdict(finding),
        "message": finding.message,
        "help": advice(finding),
    }
