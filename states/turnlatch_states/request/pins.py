"""Pinned texts: what goes along with a summary, word for word, and what does no longer."""

import json
from typing import Final

from turnlatch_states.api.json_bytes import parts, text_block
from turnlatch_states.api.resendable import mended

_HEAD: Final = "[Pinned: {}]\n"


def pinned_blocks(pins: tuple[tuple[str, str], ...]) -> bytes:
    """The pinned texts, as blocks that go along with a summary."""
    return b",".join(
        text_block(mended(_HEAD.format(name) + text)) for name, text in pins
    )


def without_pin(blocks: bytes, name: str) -> bytes:
    """Pinned blocks without the text of that name; unchanged if no pin has the name."""
    head = mended(_HEAD.format(name))
    every = parts(blocks)
    kept = [one for one in every if not json.loads(one)["text"].startswith(head)]
    return blocks if len(kept) == len(every) else b",".join(kept)
