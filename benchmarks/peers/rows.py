"""The rows of the comparison: what goes wrong with the second message of a conversation.

Each row is a script of `turnlatch break`: a message that goes well, one that meets trouble, and a
last one with nothing misbehaving. Nothing in a row is about one library.
"""

from typing import Final, final

import attrs

from turnlatch.simulator import Answer, Asked, call, refuse, reply

_NOW: Final = Asked(text="(2)")
"""The request that begins the second message."""


@final
@attrs.frozen
class PeerRow:
    """One row.

    Attributes:
        name: Its key in the JSON file.
        words: What goes wrong, for readers.
        trouble: What the second message meets, as `turnlatch break` writes it.
        calls: What the model answers to the second message before its text.
    """

    name: str
    words: str
    trouble: str = "say"
    calls: tuple[Answer, ...] = ()

    @property
    def script(self) -> str:
        """The whole script."""
        return f"say; {self.trouble}"


_PAY: Final = (reply(call("pay", amount=3), when=_NOW),)
_LOST: Final = call("look_up", name="the lost page")

ROWS: Final = (
    PeerRow("restart", "nothing but a new process for each message", calls=_PAY),
    PeerRow(
        "429 first",
        "429 with `retry-after`, first request",
        "meets 429 retry-after=2 @1",
        _PAY,
    ),
    PeerRow(
        "429 second",
        "429 with `retry-after`, after a tool ran",
        "meets 429 retry-after=2 @2",
        _PAY,
    ),
    PeerRow("529", "529, after a tool ran", "meets 529 @2", _PAY),
    PeerRow("500", "500, after a tool ran", "meets 500 @2", _PAY),
    PeerRow("reset", "connection reset before the reply", "meets reset @2", _PAY),
    PeerRow(
        "outage",
        "529 for longer than it retries, after a tool ran",
        "meets 529 @2-40",
        _PAY,
    ),
    PeerRow("cut text", "stream cut in the text", "meets cut 5 clean @2", _PAY),
    PeerRow("cut call", "stream cut in a tool call", "meets cut 5 clean @1", _PAY),
    PeerRow("stall", "stream that stops and stays open", "meets cut 4 stall @2", _PAY),
    PeerRow("refused input", "400 for what the message holds", "is refused", _PAY),
    PeerRow(
        "huge result",
        "a tool result longer than the context",
        calls=(reply(call("look_up", name="everything"), when=_NOW),),
    ),
    PeerRow(
        "refusal",
        "a reply with `stop_reason: refusal`",
        calls=(attrs.evolve(refuse(), when=_NOW),),
    ),
    PeerRow(
        "max_tokens",
        "`max_tokens` in the middle of a call",
        calls=(reply(call("write_note", text="word " * 3000), when=_NOW),),
    ),
    PeerRow("tool raises", "the tool raises", calls=(reply(_LOST, when=_NOW),)),
    PeerRow(
        "one of two raises",
        "two calls at once, one raises",
        calls=(reply(call("pay", amount=3), _LOST, when=_NOW),),
    ),
    PeerRow("killed before", "SIGKILL before the reply", "dies at request 1", _PAY),
    PeerRow("killed during", "SIGKILL while a tool runs", "dies at effect begun", _PAY),
    PeerRow(
        "killed after",
        "SIGKILL when a tool is done, before its result is told",
        "dies at effect done",
        _PAY,
    ),
)
"""Every row, in the order in which it is shown."""
