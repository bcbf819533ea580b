"""A verdict on a client, from what it did on the wire."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, final

import attrs

from turnlatch.simulator.core import Simulator
from turnlatch.testing import judge_history, judge_retries
from turnlatch.testing.defects import DEFECTS, Defect, DefectKind
from turnlatch.testing.effects import Done
from turnlatch.testing.judge_effects import (
    forgotten_effects,
    repeated_effects,
    swapped_results,
)
from turnlatch.testing.judge_retries import Dialogue
from turnlatch.testing.observed import observe

_RULES: Final[tuple[Callable[[Dialogue], Iterator[Defect]], ...]] = (
    judge_retries.illegal_requests,
    judge_retries.hints_ignored,
    judge_retries.refusals_retried,
    judge_retries.storms,
    judge_retries.hasty_retries,
    judge_retries.given_up,
    judge_retries.endless_waits,
    judge_history.partial_replies,
    judge_history.doubled_inputs,
    judge_history.poison_resent,
    judge_history.unconfirmed_ids,
    judge_history.broken_prefixes,
)


@final
@attrs.frozen(repr=False)
class Verdict:
    """The defects of a client.

    Attributes:
        defects: Every one that was found, in the order of the table of defects.
        requests: How many requests it was found in.
        effects: True if a ledger of effects was judged, too. Without one, whether an
            effect was repeated or forgotten, or a result swapped, is not known.
    """

    defects: tuple[Defect, ...]
    requests: int
    effects: bool = False

    @property
    def ok(self) -> bool:
        """True if nothing was found. A client that sent no request is not judged."""
        return not self.defects and self.requests > 0

    @property
    def kinds(self) -> frozenset[DefectKind]:
        """The kinds of defects that were found."""
        return frozenset(one.kind for one in self.defects)

    def __str__(self) -> str:
        found = _many(len(self.defects), "defect")
        lines = [f"{found} in {_many(self.requests, 'request')}."]
        for one in self.defects:
            row = DEFECTS[one.kind]
            lines += [
                f"{one.kind}: {one.text.removesuffix('.')}.",
                f"  {row.means} {row.mend}",
            ]
        if not self.requests:
            lines.append(
                "No request arrived: let the client use this server's base URL."
            )
        if not self.effects:
            lines.append("Effects of tools were not judged: no ledger was given.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Verdict: {self}>"


def judge(
    simulator: Simulator,
    ledger: Sequence[Done] | None = None,
    deaths: Collection[int] = (),
) -> Verdict:
    """Judge the client of a simulator by its log.

    Args:
        simulator: The server of the client; its log must be whole.
        ledger: The effects of the client's tools; None if they were not watched.
        deaths: The numbers of the requests after which the client was killed: it is not
            to blame for having done nothing after them.
    """
    dialogues = observe(simulator, deaths)
    found = [one for rule in _RULES for each in dialogues for one in rule(each)]
    if ledger is not None:
        found += repeated_effects(dialogues, ledger)
        found += forgotten_effects(dialogues, ledger)
        found += swapped_results(dialogues, ledger)
    many = sum(len(one) for one in dialogues)
    return Verdict(ordered(found), many, ledger is not None)


def ordered(defects: Iterable[Defect]) -> tuple[Defect, ...]:
    """Defects in the order of their table, and of the requests that show them."""
    order = list(DefectKind)
    found = sorted(defects, key=lambda one: (order.index(one.kind), one.requests))
    return tuple(found)


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
