"""Trials: requests without effect, which show what is to blame for a failure.

What they show, and what is tried next, is decided by the core (`search`, `trials`); this
file builds and sends them, and reports.
"""

from typing import TYPE_CHECKING, Any, final

import attrs

from detent.ports import RequestFailedError
from detent.sending import Sender
from detent_states import events as ev
from detent_states.faults import DEFINITE, Fault, FaultKind
from detent_states.history import History
from detent_states.profile import Purpose
from detent_states.remedy import Remedy
from detent_states.request import Request, betas, build
from detent_states.room import Choose
from detent_states.search import Bisection, under
from detent_states.snapshot import Snapshot
from detent_states.trials import anew, aside, otherwise, verdict
from detent_states.view import DropBeta, DropField, View

if TYPE_CHECKING:
    from detent.driver import Driver

_FOUND = "a part of the history is refused, as trials have shown"


@final
class Trials:
    """The trials of one conversation."""

    def __init__(self, driver: "Driver", sender: Sender) -> None:
        self._driver = driver
        self._sender = sender
        self._counted = 0  # the turn in which a count told what was found

    async def small(self, shown: Snapshot | None = None) -> bool:
        """Whether the server answers something small; nothing is recorded of it.

        What it names in the small request is left out of it: a server that says what it
        does not like is well.
        """
        shown = shown or self._driver.snapshot
        while True:
            self._driver.flush()
            fault = await self._sent(self._small(shown))
            view = self._aside(shown, fault)
            if view is None:
                return fault is None
            shown = under(shown, view)

    async def search(self) -> Choose | None:
        """What passes, where the request as it is does not; None if nothing is found,
        or nothing can be concluded."""
        snapshot = self._driver.snapshot
        fault, turn = self._searched, self._driver.turn
        again = Remedy.BISECT in turn.tried
        if again and turn.number != self._counted:
            return None  # what trials have shown, they would show again
        if again or fault.kind is FaultKind.TRANSIENT:
            snapshot = anew(snapshot, self._driver.world.policies)
        self._driver.flush()
        # Counting is free; else the trials are messages, with the shortest reply there
        # is. What was found by counting and did not help was refused for another reason.
        counted = not again and await self._is_witness(fault, snapshot)
        search = await self._narrowed(Bisection.of(snapshot), counted=counted)
        if search is None:
            return None
        if search.found is not None:
            return Choose(Remedy.BISECT, _FOUND, search.found)
        return await self._otherwise(search.snapshot)

    @property
    def _searched(self) -> Fault:
        fault = self._driver.turn.fault
        assert fault is not None, "only a turn that failed is searched"
        return fault

    async def _narrowed(self, search: Bisection, *, counted: bool) -> Bisection | None:
        """The search at its end; None where the budget is spent, or where nothing is
        concluded from an outage."""
        driver = self._driver
        while (view := search.trial) is not None:
            budget, turn = driver.world.limits.budget, driver.turn
            if budget.spent(turn, self._sender.seconds(turn)) is not None:
                return None
            shown = under(search.snapshot, view)
            fault = await self._answer(shown, counted=counted)
            other = self._aside(shown, fault)
            passed = verdict(self._searched, fault)
            if passed is None and other is None and not counted:
                passed = await self._stays(shown, fault)
            if passed is None and other is None:
                return None
            self._tell(f"the conversation {search.phase}", passed)
            if other is None:
                search = search.told(passed is True)
            elif counted:  # what else a count says is about counts
                search, counted = Bisection.of(search.snapshot), False
            else:
                search = search.beside(other)
        self._counted = driver.turn.number if counted else 0
        return search

    async def _stays(self, shown: Snapshot, fault: Fault | None) -> bool | None:
        """Whether a trial passes that met a bad moment, if that was one: it was none
        where the server is well, and still fails at it."""
        if fault is None or fault.kind is not FaultKind.TRANSIENT or not fault.status:
            return None
        if not await self._well(shown):
            return None
        return verdict(fault, await self._answer(shown, counted=False))

    async def _well(self, shown: Snapshot) -> bool:
        passed = await self.small(shown)
        self._tell("a small request", passed)
        return passed

    async def _otherwise(self, snapshot: Snapshot) -> Choose | None:
        """No part of the past is to blame: do without what stands around it.

        It is proved like everything else: without it the request passes, and with it
        the request is still refused. An outage that is over proves nothing.
        """
        for left in otherwise(snapshot, self._searched):
            if left.view is None or not await self._tries(snapshot, left.view):
                continue
            still = await self._tries(snapshot, snapshot.showing)
            return left if still is False else None
        return await self._both(snapshot)

    async def _both(self, snapshot: Snapshot) -> Choose | None:
        """What passes without both a part of the past and what stands around it."""
        bare = next((o.view for o in otherwise(snapshot, self._searched)), None)
        if bare is None or not await self._well(under(snapshot, bare)):
            return None
        first = Bisection.of(under(snapshot, bare))
        search = await self._narrowed(first, counted=False)
        if search is None or search.found is None:
            return None
        added = set(bare.ops) - set(snapshot.showing.ops)
        kept = View(tuple(op for op in search.found.ops if op not in added))
        whole = await self._tries(snapshot, kept)
        return Choose(Remedy.BISECT, _FOUND, kept if whole else search.found)

    async def _tries(self, snapshot: Snapshot, view: View) -> bool | None:
        """Whether a view passes."""
        fault = await self._answer(under(snapshot, view), counted=False)
        passed = verdict(self._searched, fault)
        as_it_is = view is snapshot.showing
        told = "it as it is" if as_it_is else "it without what stands around it"
        self._tell(told, passed)
        return passed

    def _tell(self, question: str, passed: bool | None) -> None:
        number = self._driver.turn.number
        self._driver.apply(ev.Probed(number, question, passed is True))

    # Requests.

    def _aside(self, shown: Snapshot, fault: Fault | None) -> View | None:
        if fault is None:
            return None
        return aside(shown, fault, self._driver.world.policies)

    def _small(self, shown: Snapshot) -> Request:
        """A question as short as can be, with the settings that were not refused."""
        left_out = (
            op for op in shown.showing.ops if isinstance(op, DropField | DropBeta)
        )
        bare = attrs.evolve(shown, history=History(), bases=())
        words = b'{"type":"text","text":"Say OK."}'
        return self._request(bare, View(tuple(left_out)), words)

    def _trial(self, shown: Snapshot) -> Request:
        return self._request(shown, shown.showing, self._driver.turn.staged)

    def _request(self, shown: Snapshot, view: View, staged: bytes) -> Request:
        profile, turn = shown.profile, self._driver.turn
        purpose, base = Purpose.MESSAGE, shown.base
        body = build(
            profile, shown.history, base, staged, view=view, max_tokens=_least(shown)
        )
        names = betas(profile, base, purpose, view=view)
        return Request(turn.number, turn.attempt, purpose, body, names)

    async def _is_witness(self, searched: Fault, snapshot: Snapshot) -> bool:
        """Whether a count says no to what a message was refused for, and to that only:
        it does for the same kind of reason, and not to everything."""
        if searched.kind not in DEFINITE:
            return False
        fault = await self._answer(snapshot, counted=True)
        if fault is None or fault.kind is not searched.kind:
            return False
        return await self._uncounted(self._small(snapshot)) is None

    async def _answer(self, shown: Snapshot, *, counted: bool) -> Fault | None:
        """Why the server refuses a trial, or does not count it, which it does only if
        it is legal; None if it does neither."""
        self._driver.flush()
        trial = self._trial(shown)
        return await (self._uncounted(trial) if counted else self._sent(trial))

    async def _uncounted(self, request: Request) -> Fault | None:
        try:
            await self._driver.world.model.count(request)
        except RequestFailedError as error:
            return error.fault
        return None

    async def _sent(self, request: Request) -> Fault | None:
        """Why the server does not answer, with as little as can be asked for."""
        try:
            await self._driver.world.model.send(request, lambda _: None)
        except RequestFailedError as error:
            return error.fault
        return None


def _least(snapshot: Snapshot) -> int:
    """The shortest reply that the settings allow to ask for."""
    thinking: Any = snapshot.profile.setting("thinking")
    fixed = isinstance(thinking, dict) and "budget_tokens" in thinking
    return snapshot.profile.max_tokens if fixed else 1
