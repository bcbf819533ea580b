"""The guard of the prompt cache: what the next request changes of what was paid for.

The server reads again, at a tenth of the price, what begins with the same bytes as an
earlier request (Anthropic docs: build-with-claude/prompt-caching). Requests are a pure
function of the profile, the summary, the view and the history, so a request that is
made of the same begins with the same. Where one is not, this tells which byte is the
first that changed, before it is paid for.
"""

from typing import Final, final

import attrs

from turnlatch_states.machine.snapshot import Paid, Snapshot
from turnlatch_states.machine.thread import ThreadState
from turnlatch_states.request.build import build
from turnlatch_states.request.cache_markers import LOOKBACK, mark_last_end, out_of_reach
from turnlatch_states.request.history import History
from turnlatch_states.request.profile import Profile
from turnlatch_states.request.render import base_in_force, wires
from turnlatch_states.request.view import View


@final
@attrs.frozen
class PrefixChange:
    """Where a request departs from the last confirmed one.

    Attributes:
        part: `settings`, or `messages`.
        at: The first byte that the cache will not serve, counted from the start of that
            part.
        before: A few bytes from before the change.
        after: A few bytes from after the change.
        tokens: Upper bound on the tokens to be read again.
        why: The change, in words.
    """

    part: str
    at: int
    before: bytes
    after: bytes
    tokens: int
    why: str


def prefix_change(snapshot: Snapshot) -> PrefixChange | None:
    """The change from the last request to the next; None if the next only adds to it."""
    paid = snapshot.paid
    if paid is None:
        return None
    view = snapshot.showing
    base = base_in_force(view, snapshot.base)
    same = paid.profile is snapshot.profile or paid.profile == snapshot.profile
    if same and paid.view == view and paid.base == base:
        return _too_far_back(snapshot, view)
    old = _opening(paid.profile, paid.view)
    new = _opening(snapshot.profile, view)
    rest = snapshot.history.bytes_of(snapshot.covered) // 2
    if old != new:
        at = _first_difference(old, new)
        tokens = rest + (len(new) - at) // 2
        return _change("settings", at, old, new, tokens, "the settings are others")
    before = b",".join(_sent(paid, snapshot.history))
    staged = snapshot.turn.staged if snapshot.turn is not None else b""
    after = b",".join(wires(view, snapshot.history, snapshot.base, staged))
    if after.startswith(before):
        return _too_far_back(snapshot, view)
    at = _first_difference(before, after)
    why = "the history is shown otherwise"
    if paid.base != base:
        why = "a summary stands for the first part of the history"
    return _change("messages", at, before, after, (len(after) - at) // 2, why)


def _too_far_back(snapshot: Snapshot, view: View) -> PrefixChange | None:
    """What is lost although nothing changed: the last request's end is too far back, and
    no marker can stand there."""
    history, profile = snapshot.history, snapshot.profile
    staged = snapshot.turn.staged if snapshot.turn is not None else b""
    if profile.mark_at_end(view.dropped) is None or not out_of_reach(history, staged):
        return None
    sent = wires(view, history, snapshot.base, staged)
    continued = snapshot.thread.state == ThreadState.CONTINUING
    mark = None if continued else profile.mark_to_spare(view.dropped)
    if mark is not None and mark_last_end(list(sent), history, mark):
        return None
    said = b",".join(sent)
    why = (
        f"the cache looks back {LOOKBACK} blocks, the last request ended further back,"
        " and no cache marker is left to stand there"
    )
    return _change("messages", 0, said, said, len(said) // 2, why)


_MESSAGES: Final = b'"messages":['


def _opening(profile: Profile, view: View) -> bytes:
    """A request up to its messages, as `build` writes it."""
    empty = build(profile, History(), None, b"", view=view)
    return empty[: empty.rindex(_MESSAGES) + len(_MESSAGES)]


def _sent(paid: Paid, history: History) -> list[bytes]:
    """The messages of the last confirmed request, as far as the history still goes."""
    covers = 0 if paid.base is None else paid.base.covers
    size = min(covers + paid.size, len(history))
    said = history[size].user if size < len(history) else b""
    return wires(paid.view, history.until(size), paid.base, said)


def _change(
    part: str, at: int, old: bytes, new: bytes, tokens: int, why: str
) -> PrefixChange:
    return PrefixChange(part, at, old[at : at + 24], new[at : at + 24], tokens, why)


def _first_difference(one: bytes, other: bytes) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:  # the first place where the beginnings are not the same
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
