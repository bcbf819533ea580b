"""Server-sent events out of bytes, in time linear in the bytes.

The framing of the HTML standard (server-sent events, "event stream interpretation"),
cut down to what matters here: where one event ends. Lines end with LF, CRLF or CR; an
event ends with an empty line; an event whose empty line never came does not exist.

No byte is looked at more than a constant number of times, however the bytes are cut
into chunks: what has no end yet is kept in pieces and joined once.
"""

from collections.abc import Iterable, Iterator
from typing import final

import attrs

from turnlatch.sdk.sealing import (
    BLOCKS_MAX,
    IncompleteReplyError,
    TooLargeError,
    reason,
)


@final
@attrs.frozen
class ReplyLimits:
    """How much one answer may be, so that no server can fill the memory.

    Attributes:
        event_bytes: Bytes of one event, or of one unfinished line.
        reply_bytes: Bytes of one reply or count: as they come, and unpacked.
        events: Events of one reply.
        blocks: Content blocks of one reply.
        containers: Arrays and objects of one event, or of a reply that is not streamed:
            parsed, an empty one takes thirty times its bytes.
        refusal_bytes: Bytes read of an unsuccessful answer, both packed and unpacked. The
            rest is left unread, and the status gives the meaning.
    """

    event_bytes: int = 8 * 1024 * 1024
    reply_bytes: int = 64 * 1024 * 1024
    events: int = 1_000_000
    blocks: int = BLOCKS_MAX
    containers: int = 1_000_000
    refusal_bytes: int = 1024 * 1024

    def check_containers(self, text: bytes) -> None:
        """Refuse JSON that would take far more memory than its bytes.

        Raises:
            TooLargeError: It has more arrays and objects than are allowed.
        """
        if len(text) > self.containers:  # each takes a byte at least
            found = text.count(b"[") + text.count(b"{")
            if found > self.containers:
                raise TooLargeError(f"it has more than {self.containers} parts")


@final
class Splitter:
    """Cuts a stream of bytes into the texts of its events.

    An event's text is its lines, joined with LF, without the empty line that ends it.

    Attributes:
        work: Bytes copied so far; a test holds it against the bytes that were fed.
    """

    __slots__ = (
        "_cr",
        "_events",
        "_fed",
        "_limits",
        "_newline",
        "_pending",
        "_size",
        "work",
    )

    def __init__(self, limits: ReplyLimits) -> None:
        self._limits = limits
        self._pending: list[bytes] = []
        self._size = 0  # bytes in `_pending`
        self._events = 0
        self._fed = 0
        self._cr = False  # the last byte was a CR: an LF that follows belongs to it
        self._newline = True  # the last byte ended a line
        self.work = 0

    def feed(self, chunk: bytes) -> Iterable[str]:
        """The events that `chunk` completes, in order.

        Raises:
            IncompleteReplyError: A limit is exceeded, or (while iterating) an event is not
                UTF-8.
        """
        self._fed += len(chunk)
        if self._fed > self._limits.reply_bytes:
            raise TooLargeError(f"it is larger than {self._limits.reply_bytes} bytes")
        if self._cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        if not chunk:
            return ()
        ends = b"\n\n" in chunk or (self._newline and chunk[0] == 10)
        self._newline = chunk[-1] == 10
        if not ends:
            self._keep(chunk)
            return ()
        if self._pending:
            self._pending.append(chunk)
            self.work += self._size + len(chunk)
            chunk = b"".join(self._pending)
            self._pending.clear()
            self._size = 0
        cut = chunk.rfind(b"\n\n")
        if cut < 0:  # a lone empty line, before the first event
            return self._only_tail(chunk)
        if cut + 2 < len(chunk):
            self._keep(chunk[cut + 2 :])
            chunk = chunk[:cut]
        else:
            chunk = chunk[:cut]
        return self._texts(chunk)

    def _only_tail(self, chunk: bytes) -> Iterable[str]:
        self._keep(chunk.lstrip(b"\n"))
        return ()

    def _keep(self, tail: bytes) -> None:
        self._pending.append(tail)
        self._size += len(tail)
        self.work += len(tail)
        if self._size > self._limits.event_bytes:
            raise TooLargeError(
                f"an event is larger than {self._limits.event_bytes} bytes"
            )

    def _texts(self, region: bytes) -> Iterable[str]:
        self.work += len(region)
        self._limits.check_containers(region)
        if region[:3] == b"\xef\xbb\xbf" and not self._events:
            region = region[3:]  # a byte order mark may open the stream
        try:
            texts = region.decode().split("\n\n")
        except UnicodeDecodeError:
            return self._one_by_one(region)
        self._count(len(texts))
        if len(region) > self._limits.event_bytes:
            return self._one_by_one(region)
        return texts

    def _one_by_one(self, region: bytes) -> Iterator[str]:
        # The events before a bad one are still events, wherever the chunks were cut.
        for event in region.split(b"\n\n"):
            if len(event) > self._limits.event_bytes:
                raise TooLargeError(
                    f"an event is larger than {self._limits.event_bytes} bytes"
                )
            try:
                yield event.decode()
            except UnicodeDecodeError as error:
                raise IncompleteReplyError(f"an event: {reason(error)}") from None

    def _count(self, events: int) -> None:
        self._events += events
        if self._events > self._limits.events:
            raise TooLargeError(f"there are more than {self._limits.events} events")

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        if self._cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            if not chunk:
                self._cr = False
                return chunk
        self.work += len(chunk)
        self._cr = chunk[-1:] == b"\r"
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
