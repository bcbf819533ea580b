"""Signatures: what the server signs, and what it can tell when a block comes back.

A signature is opaque to clients. Here it is base64 of a few digests and a MAC over them,
so that the simulator needs no memory of what it signed: a block is genuine if its MAC is
right, unchanged if its digest is, and in its place if the digests of what stands before
it are. It also says which thinking block of which reply it was, so that it shows where a
reply comes back without some of them. What counts as "before it" follows
https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting:
the system prompt, the tools that are not deferred, and the earlier blocks; cache markers
do not count, adjacent messages of one role are one, and thinking may be removed from the
front, but not from the middle.
"""

import base64
import binascii
import hmac
import json
import random
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, final

import attrs

from turnlatch.simulator.wire import Json, as_array, as_object, blocks, objects

_DIGEST_BYTES: Final = 12
_NONE: Final = bytes(_DIGEST_BYTES)
_THINKING: Final = b"\x01"
_COMPACTION: Final = b"\x02"
_MAC_BYTES: Final = 16
_NONCE_BYTES: Final = 9
_REPLY_BYTES: Final = 8
_COUNT_BYTES: Final = 2
_THINKING_BYTES: Final = (
    2 + 5 * _DIGEST_BYTES + _REPLY_BYTES + 2 * _COUNT_BYTES + _NONCE_BYTES
)


@final
@attrs.frozen
class SignedPlace:
    """Where in a conversation a block stands.

    Attributes:
        base: Digest of the system prompt and the tools.
        chain: Digest of the blocks before it, thinking apart.
        previous: Digest of the last thinking block before it; zeros without one.
    """

    base: bytes
    chain: bytes = _NONE
    previous: bytes = _NONE

    def after(self, role: str, block: Json) -> "SignedPlace":
        """The place right after one more block."""
        if is_thinking(block):
            return attrs.evolve(self, previous=_digest(_mark(block)))
        told = {
            key: value
            for key, value in block.items()
            if key not in ("cache_control", "caller") and value is not None
        }
        return attrs.evolve(self, chain=_digest(self.chain, role, _canonical(told)))


@final
@attrs.frozen
class Share:
    """Which of the thinking blocks of a reply one is.

    Attributes:
        reply: Digest of the reply's id.
        number: Among them, from 0.
        count: Of all of them.
    """

    reply: bytes
    number: int
    count: int


@final
class Notary:
    """Signs blocks and checks signatures.

    Args:
        seed: The only source of its key.
    """

    def __init__(self, seed: int) -> None:
        self._key = blake2b(b"detent.simulator.%d" % seed, digest_size=32).digest()

    def sign_thinking(
        self,
        text: str,
        place: SignedPlace | None,
        share: Share,
        model: str,
        rng: random.Random,
    ) -> str:
        """Sign a thinking block.

        Args:
            text: Its text as the client gets it; empty where it is omitted.
            place: Where it stands, where the model binds thinking to its place.
            share: Which one of its reply it is.
            model: Who thought it.
            rng: For the nonce that makes every signature another one.
        """
        bound = place or SignedPlace(_NONE)
        parts = (
            _THINKING,
            b"\x01" if place is not None else b"\x00",
            _digest(model),
            _digest(text) if text else _NONE,
            bound.base + bound.chain + bound.previous,
            share.reply,
            share.number.to_bytes(_COUNT_BYTES),
            share.count.to_bytes(_COUNT_BYTES),
            rng.randbytes(_NONCE_BYTES),
        )
        return self._sealed(b"".join(parts))

    def sign_compaction(
        self, content: str, tool_changes: object, place: SignedPlace, rng: random.Random
    ) -> str:
        """Sign a summary, with the place that its range ends at."""
        parts = (
            _COMPACTION,
            _digest(content),
            _digest(_canonical(tool_changes)),
            place.chain,
            rng.randbytes(_NONCE_BYTES),
        )
        return self._sealed(b"".join(parts))

    def thinking_problem(
        self, block: Json, place: SignedPlace, model: str
    ) -> str | None:
        """The fault of a thinking block that came back.

        Returns:
            None if it is as it was sent; `tampered`, `other model` or `moved`.
        """
        sealed = self._opened(_mark(block), _THINKING)
        if sealed is None or len(sealed) != _THINKING_BYTES:
            return "tampered"
        model_digest, text, base, chain, previous = (
            sealed[2 + start * _DIGEST_BYTES : 2 + (start + 1) * _DIGEST_BYTES]
            for start in range(5)
        )
        given = block.get("thinking")
        # Text put into an omitted thought is ignored; a shown one must be as it was.
        if text != _NONE and (not isinstance(given, str) or _digest(given) != text):
            return "tampered"
        if model_digest != _digest(model):
            return "other model"
        if sealed[1:2] == b"\x00":
            return None
        linked = place.previous in (_NONE, previous)
        return (
            None if (base, chain) == (place.base, place.chain) and linked else "moved"
        )

    def share_of(self, block: Json, model: str) -> Share | None:
        """Which one of its reply a thinking block is; None if this model never made it."""
        sealed = self._opened(_mark(block), _THINKING)
        if sealed is None or len(sealed) != _THINKING_BYTES:
            return None
        if sealed[2 : 2 + _DIGEST_BYTES] != _digest(model):
            return None
        reply = 2 + 5 * _DIGEST_BYTES
        number = reply + _REPLY_BYTES
        count = number + _COUNT_BYTES
        return Share(
            sealed[reply:number],
            int.from_bytes(sealed[number:count]),
            int.from_bytes(sealed[count : count + _COUNT_BYTES]),
        )

    def compaction_problem(self, block: Json) -> tuple[str, str] | None:
        """What is wrong with a signed summary that came back: code and reason."""
        signature = block.get("signature")
        sealed = self._opened(signature, _COMPACTION)
        if sealed is None or len(sealed) != 1 + 3 * _DIGEST_BYTES + _NONCE_BYTES:
            reason = "`compaction` block `signature` is not valid"
            return "compaction_signature_invalid", reason
        content = block.get("content")
        digests = sealed[1:]
        if not isinstance(content, str) or digests[:_DIGEST_BYTES] != _digest(content):
            reason = "`compaction` block `content` does not match its `signature`"
            return "compaction_content_mismatch", reason
        changes = _digest(_canonical(block.get("tool_changes")))
        if digests[_DIGEST_BYTES : 2 * _DIGEST_BYTES] != changes:
            reason = "`compaction` block `tool_changes` does not match its `signature`"
            return "compaction_tool_changes_mismatch", reason
        return None

    def place_after_compaction(self, block: Json, place: SignedPlace) -> SignedPlace:
        """Where the blocks after a summary stand.

        After a signed one they stand where the summarised range ended, so kept thinking
        stays valid. An unsigned one (the threshold form) starts again.
        """
        content = block.get("content")
        if content is None:
            return place
        sealed = self._opened(block.get("signature"), _COMPACTION)
        if sealed is None:
            return SignedPlace(place.base, _digest("compaction", str(content)))
        start = 1 + 2 * _DIGEST_BYTES
        return SignedPlace(place.base, sealed[start : start + _DIGEST_BYTES])

    def _sealed(self, content: bytes) -> str:
        mac = blake2b(content, key=self._key, digest_size=_MAC_BYTES).digest()
        return base64.b64encode(content + mac).decode()

    def _opened(self, signature: object, kind: bytes) -> bytes | None:
        if not isinstance(signature, str):
            return None
        try:
            whole = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return None
        # Base64 of the same bytes can be written in several ways; only one was sent.
        if base64.b64encode(whole).decode() != signature:
            return None
        content, mac = whole[:-_MAC_BYTES], whole[-_MAC_BYTES:]
        right = blake2b(content, key=self._key, digest_size=_MAC_BYTES).digest()
        if not content.startswith(kind) or not hmac.compare_digest(mac, right):
            return None
        return content


@final
class Places:
    """Where every thinking block of a conversation stands, and where its end is.

    Args:
        body: The whole conversation: `system`, `tools`, `messages`.
        notary: Who can read the place a summary was made at.
    """

    def __init__(self, body: Json, notary: Notary) -> None:
        place = SignedPlace(_base(body))
        self._places: dict[int, SignedPlace] = {}
        for message in objects(body.get("messages")):
            role = str(message.get("role"))
            for block in blocks(message.get("content")):
                if block.get("type") == "compaction":
                    place = notary.place_after_compaction(block, place)
                    continue
                if is_thinking(block):
                    self._places[id(block)] = place
                place = place.after(role, block)
        self.end = place
        # Blocks are told apart by their identity, so they have to stay alive.
        self._body = body

    def of(self, block: Json) -> SignedPlace:
        """The place of a thinking block of the body, told by its identity."""
        return self._places[id(block)]

    @property
    def thinking(self) -> bool:
        """Whether there is any thinking block."""
        return bool(self._places)


def shares(message_id: str, count: int) -> Iterator[Share]:
    """The shares of the thinking blocks of a reply, in order."""
    reply = _digest(message_id)[:_REPLY_BYTES]
    return (Share(reply, number, count) for number in range(count))


def is_thinking(block: Json) -> bool:
    """Whether a block is one that is signed as thinking."""
    return block.get("type") in ("thinking", "redacted_thinking")


def digest_of(value: object) -> bytes:
    """A short digest of a JSON value, whatever the order of its keys."""
    return _digest(_canonical(value))


def unmarked(value: object) -> object:
    """A JSON value without any `cache_control` in it."""
    if (members := as_object(value)) is not None:
        return {
            key: unmarked(each)
            for key, each in members.items()
            if key != "cache_control"
        }
    if (items := as_array(value)) is not None:
        return [unmarked(each) for each in items]
    return value


def _base(body: Json) -> bytes:
    system = [unmarked(block) for block in blocks(body.get("system"))]
    tools = [
        unmarked(tool)
        for tool in objects(body.get("tools"))
        if tool.get("defer_loading") is not True
    ]
    return _digest(_canonical([system, tools]))


def _mark(block: Json) -> str:
    value = block.get("signature", block.get("data"))
    return value if isinstance(value, str) else ""


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(*parts: bytes | str) -> bytes:
    running = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        running.update(len(data).to_bytes(8))
        running.update(data)
    return running.digest()
