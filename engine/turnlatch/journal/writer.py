"""What every handle does alike: its name, and where it stands in the writer machine."""

from collections.abc import Sequence
from typing import Final, final

from turnlatch.errors import IllegalEventError, JournalError, LeaseLostError
from turnlatch.journal.codec import Row, encode
from turnlatch.journal.strict import CodecError
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.writer import WRITER, WriterState

NAME_LENGTH_MAX: Final = 200
"""Longest name of a conversation, in characters."""


def checked_name(name: str) -> str:
    """The name, if a conversation can have it: 1 to 200 characters of any text without
    NUL and lone surrogates. A name is stored as data and is never part of a path.

    Raises:
        JournalError: It cannot.
    """
    problem = None
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        problem = f"a name is text, not {type(name).__name__}"
    elif not 1 <= len(name) <= NAME_LENGTH_MAX:
        problem = f"a name has 1 to {NAME_LENGTH_MAX} characters, not {len(name)}"
    elif "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
        problem = "a name has no NUL and no lone surrogates"
    if problem is not None:
        raise JournalError(repr(name)[:80], problem, "give another name")
    return name


def place(name: str) -> str:
    """A conversation, as errors name it."""
    return f"conversation {name!r}"


def encoded(events: Sequence[Event], where: str) -> list[Row]:
    """The rows of events that are about to be appended.

    Raises:
        JournalError: One of them cannot be written down; nothing was appended.
    """
    try:
        return [encode(event) for event in events]
    except CodecError as error:
        raise JournalError(
            where,
            f"cannot be recorded: {error}; nothing was appended",
            "append events whose fields have the types they are declared with",
        ) from None


@final
class Writer:
    """One handle's state in the writer machine. The table decides; this only asks."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.state: str = WriterState.FREE.value

    @property
    def held(self) -> bool:
        """True while this handle may append."""
        return self.state == WriterState.HELD.value

    def fire(self, trigger: str) -> None:
        """Move as the table says.

        Raises:
            LeaseLostError: The table refuses, because a newer writer was found before.
            JournalError: The table refuses, because the handle was closed.
        """
        try:
            # An append leaves the state as it is, a thousand times a second: its row is
            # looked up. A row that changes the state is executed by the library.
            run = WRITER.choose if trigger == "append" else WRITER.fire
            self.state = run(self.state, trigger, None, None).target
        except IllegalEventError as refused:
            if self.state == WriterState.LOST.value:
                raise lost(self._where) from refused
            raise JournalError(
                self._where,
                f"its handle is closed ({refused})",
                "open the conversation again to append",
            ) from refused


def lost(where: str) -> LeaseLostError:
    """The error of a handle that somebody newer replaced."""
    return LeaseLostError(
        where,
        "a newer writer holds it; this handle appends nothing any more",
        "open the conversation again to go on from what the newer writer recorded",
    )
