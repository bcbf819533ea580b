"""Scripts of the fuzzer: values, written as text, and read back.

A script is a world, what somebody does in it, and what goes wrong, parted by ` / `:

    seed=7 store=sqlite threads=auto / send amber, stop birch 4, compact / 429 @2

The world is `name=value` words (see `Setting`); what is the usual is left out. The moves
are `Verb`s with their words and numbers; the faults are the simulator's own language.

Every script can be survived. What happens once, or for a time, stops before the last
message: it is given an end (`stopping`). What is for ever is bound to something that a
conversation can do without (`lasting`): a word that somebody said, a summary, a count,
a server thread.
"""

from enum import StrEnum
from typing import Any, Final, final

import attrs

from turnlatch.simulator import (
    ExpireThreads,
    LimitChange,
    RuleSwitch,
    Script,
    ScriptedFault,
    Status,
    parse_faults,
)
from turnlatch.simulator.mangling import refusal_of
from turnlatch_states.api.faults import (
    FaultKind,
    classify,
)

END_SECONDS: Final = 1e7
"""When every fault stops that does not last: no script takes so long by itself."""

WORDS: Final = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island",
    "juniper", "kettle", "lantern", "meadow", "north", "orchard", "pebble",
)  # fmt: skip
"""What is talked about; a fault may be bound to one of them."""

MODELS: Final = (
    "claude-sonnet-5-5", "claude-opus-4-6", "claude-haiku-4-5", "claude-fable-5",
    "claude-sonnet-5",
)  # fmt: skip

THREADS: Final = ("off", "on", "auto")
CACHES: Final = ("off", "5m", "1h")


class Verb(StrEnum):
    """What somebody may do."""

    SEND = "send"
    STREAM = "stream"
    LONG = "long"
    IMAGE = "image"
    STOP = "stop"
    HALT = "halt"
    CANCEL = "cancel"
    CRASH = "crash"
    RETRY = "retry"
    APPROVE = "approve"
    DENY = "deny"
    ABANDON = "abandon"
    COMPACT = "compact"
    REWIND = "rewind"
    FORK = "fork"
    BRANCH = "branch"
    REOPEN = "reopen"
    MODEL = "model"
    THREADS = "threads"
    CACHE = "cache"
    TOKENS = "tokens"
    WAIT = "wait"
    PIN = "pin"
    STEER = "steer"


SAYS: Final = frozenset(
    {
        *(Verb.SEND, Verb.STREAM, Verb.LONG, Verb.IMAGE, Verb.FORK, Verb.BRANCH),
        *(Verb.STOP, Verb.HALT, Verb.CANCEL, Verb.CRASH, Verb.PIN, Verb.STEER),
    }
)
"""The verbs that have a word of `WORDS`."""

CUTS_SHORT: Final = frozenset({Verb.STOP, Verb.HALT, Verb.CANCEL, Verb.CRASH})
"""The verbs that end in the middle: at a point, which their number says."""


@final
@attrs.frozen
class Move:
    """One thing that somebody does.

    Attributes:
        verb: What.
        word: What is said, or set; empty where the verb needs none.
        at: The point at which it is cut short, or at which it is said into the next
            move; 0 where the verb needs none, and for what is said at once.
    """

    verb: Verb
    word: str = ""
    at: int = 0

    def __str__(self) -> str:
        number = str(self.at) if self.at else ""
        return " ".join(part for part in (self.verb, self.word, number) if part)

    @classmethod
    def parse(cls, text: str) -> "Move":
        """Read what `str` wrote.

        Raises:
            ValueError: There is no such move.
        """
        verb, *rest = text.split()
        numbered = verb in CUTS_SHORT or (verb == Verb.STEER and len(rest) > 1)
        at = int(rest.pop()) if numbered else 0
        return cls(Verb(verb), " ".join(rest), at)


@final
@attrs.frozen
class Setting:
    """The world of a script.

    Attributes:
        seed: Of the simulated model.
        store: `memory`, or `sqlite` for a real file.
        model: The model's id.
        threads: As `Conversation.open` takes it.
        cache: As `Conversation.open` takes it.
        moody: Whether the model also declines, is cut off, or says nothing.
        attempts: Failures in a row that are waited out.
        off: Rules that are not in force at first, joined by `+`; a fault may switch
            them on.
        tools: Names of tools beside the usual ones, joined by `+`; see `fuzz_tools`.
    """

    seed: int = 0
    store: str = "memory"
    model: str = "claude-sonnet-5-5"
    threads: str = "off"
    cache: str = "5m"
    moody: bool = False
    attempts: int = 8
    off: str = ""
    tools: str = ""

    def __str__(self) -> str:
        usual, given = attrs.asdict(Setting()), attrs.asdict(self)
        return " ".join(
            f"{name}={int(value) if name == 'moody' else value}"
            for name, value in given.items()
            if value != usual[name] or name == "seed"
        )

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """Read what `str` wrote.

        Raises:
            ValueError: A word is no setting.
        """
        given: dict[str, Any] = {}
        kinds = {"seed": int, "attempts": int, "moody": int}
        for word in text.split():
            name, _, value = word.partition("=")
            given[name] = kinds.get(name, str)(value)
        try:
            made = cls(**given)
        except TypeError as error:
            raise ValueError(f"{text!r} is no setting: {error}") from None
        return attrs.evolve(made, moody=bool(made.moody))


@final
@attrs.frozen
class Play:
    """A whole script.

    Attributes:
        setting: The world.
        moves: What somebody does, in order.
        faults: What goes wrong.
    """

    setting: Setting = Setting()
    moves: tuple[Move, ...] = ()
    faults: Script = ()

    def __str__(self) -> str:
        moves = ", ".join(map(str, self.moves))
        return f"{self.setting} / {moves} / {', '.join(map(str, self.faults))}"

    @classmethod
    def parse(cls, text: str) -> "Play":
        """Read what `str` wrote.

        Raises:
            ValueError, FaultScriptError: It is no script.
        """
        setting, moves, faults = [*text.split(" / ", 2), "", ""][:3]
        said = [one for one in moves.split(",") if one.strip()]
        return cls(
            Setting.parse(setting), tuple(map(Move.parse, said)), parse_faults(faults)
        )


# What lasts, and what stops.


def lasting(fault: ScriptedFault) -> bool:
    """Whether a fault may stay for ever: a conversation can go on in spite of it.

    A refusal of a word that somebody said, or a server that always fails at it while it
    answers everything else: what holds the word can be left out. A summary, a count of
    tokens, a server thread: each can be done without. So can room, of which there is
    always enough for a message, and so can a rule that is obeyed.
    """
    action, when = fault.action, fault.when
    if isinstance(action, RuleSwitch | LimitChange | ExpireThreads):
        return True
    if when.kind in ("compaction", "count_tokens", "models"):
        return True
    if not isinstance(action, Status):
        return False
    said = refusal_of(action)
    meant = classify(said.status, said.type, said.code, said.message)
    if when.kind == "thread":
        return meant is FaultKind.THREAD
    if when.body is None or when.kind != "messages":
        return False
    return meant is FaultKind.INVALID or _fails(fault)


def _fails(fault: ScriptedFault) -> bool:
    """Whether the server fails, and does not say for how long."""
    action = fault.action
    if not isinstance(action, Status) or action.status < 500 or action.code:
        return False
    return not any(name.startswith("retry-after") for name, _ in action.headers)


def sends_max(play: "Play") -> int:
    """Ordinary messages within which one is confirmed, once the faults have stopped.

    The second is for a refusal that is searched for only when it comes twice. What the
    server always fails at is suspected first, and only then found to be refused, too.
    What was said and waits may be what is refused: it is given up with its turn.
    """
    fails = any(lasting(fault) and _fails(fault) for fault in play.faults)
    steered = {move.word for move in play.moves if move.verb is Verb.STEER}
    waits = any(lasting(one) and one.when.body in steered for one in play.faults)
    return 2 + fails + waits


def stopping(script: Script) -> Script:
    """The script with an end: whatever does not last is over at `END_SECONDS`."""
    return tuple(
        fault
        if lasting(fault)
        else attrs.evolve(
            fault,
            when=attrs.evolve(
                fault.when,
                until_seconds=min(fault.when.until_seconds or END_SECONDS, END_SECONDS),
            ),
        )
        for fault in script
    )
