"""Content blocks that a tool returns, told from data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, final

import attrs


def _listed(given: object) -> Sequence[Any]:
    """The blocks as a list.

    One block, or one text, can be read in pieces like a list: as keys, as letters.
    """
    kind = type(given).__name__
    single = isinstance(given, str | bytes | bytearray | Mapping)
    if single or not isinstance(given, Iterable):
        problem = f"Blocks takes a list of blocks, not a {kind}"
        raise TypeError(problem)
    return tuple(cast("Iterable[object]", given))


@final
@attrs.frozen
class Blocks:
    """Content blocks that a tool returns: text, pictures, documents.

    Any other return value is data, and reaches the model as text or JSON. A list is taken
    for blocks without `Blocks` only if it is unambiguous: each item has exactly the
    fields of a block that a `tool_result` takes, and at least one is more than text.
    `Blocks` inside other data is an error.

    Attributes:
        blocks: Blocks as the API takes them in a `tool_result`; a string is a block of
            text. A note stands for one that the API would refuse, and says why.

    Raises:
        TypeError: The value is a single block, a text, or not a list.
    """

    blocks: Sequence[Mapping[str, Any] | str] = attrs.field(converter=_listed)
