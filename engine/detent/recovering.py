"""After a failure: waiting, asking, searching, suspending, as the ladder says.

What is decided is decided by the core (`decide`); this file does it, and reports.
"""

from typing import TYPE_CHECKING, Any, final

from detent.ports import RequestFailedError
from detent.sending import DEFINITE, Sender
from detent_states import events as ev
from detent_states.decide import (
    Ask,
    GiveUp,
    Search,
    Suspend,
    Wait,
    decide,
    otherwise,
)
from detent_states.faults import Fault
from detent_states.history import History
from detent_states.profile import Purpose
from detent_states.remedy import Remedy
from detent_states.request import Request, betas, build
from detent_states.room import Choose, Compact
from detent_states.search import Bisection
from detent_states.snapshot import Snapshot, Turn
from detent_states.view import DropBeta, DropField, View

if TYPE_CHECKING:
    from detent.driver import Driver


@final
class Recovery:
    """What follows the failures of one conversation."""

    def __init__(self, driver: "Driver", sender: Sender) -> None:
        self._driver = driver
        self._sender = sender

    async def consider(self) -> bool:
        """Do what the ladder of the fault says; False to rest in failed."""
        driver, turn = self._driver, self._driver.turn
        spent = driver.world.limits.budget.spent(turn, self._sender.seconds(turn))
        decision = decide(
            driver.snapshot, driver.world.policies, driver.world.ids.draw()
        )
        if spent is not None:
            decision = GiveUp()
        match decision:
            case Wait():
                return await self._wait(turn, decision.seconds)
            case Choose():
                self._sender.go_on(decision)
                return True
            case Compact():
                await self._sender.compact(decision, asked=False)
                return True
            case Ask():
                return await self._ask(turn)
            case Search():
                return await self._search(turn)
            case Suspend():
                now = driver.world.clock.now()
                until = None if decision.seconds is None else now + decision.seconds
                if turn.suspended is None:
                    driver.apply(ev.TurnSuspended(turn.number, decision.why, until))
                return self._rest(turn)
            case GiveUp():
                return self._rest(turn)

    def _rest(self, turn: Turn) -> bool:
        if turn.due is not None or turn.ready:
            self._driver.apply(ev.RetryCancelled(turn.number))
        return False

    async def _wait(self, turn: Turn, seconds: float) -> bool:
        driver = self._driver
        bound = driver.world.limits.budget.seconds
        if bound is not None and self._sender.seconds(turn) + seconds >= bound:
            said = f"a wait of {seconds:g} s is longer than what is left of its {bound:g} s"
            now = driver.world.clock.now()
            driver.apply(ev.TurnSuspended(turn.number, said, now + seconds))
            return self._rest(turn)
        due = driver.world.clock.now() + seconds
        driver.apply(ev.RetryScheduled(turn.number, turn.failures, seconds, due))
        driver.flush()
        await driver.world.clock.sleep(seconds)
        driver.apply(ev.TurnRetried(turn.number, asked=False))
        return True

    async def _ask(self, turn: Turn) -> bool:
        """Ask something small: does the server answer anybody at all?"""
        driver = self._driver
        driver.flush()
        small = self._small()
        passed = await self._passes(small.body, small.betas)
        driver.apply(ev.Probed(turn.number, "a small request", passed is True))
        return True

    async def _search(self, turn: Turn) -> bool:
        """Find the part that is refused, and propose to leave it out."""
        driver = self._driver
        search = Bisection.of(driver.snapshot)
        driver.flush()
        # Counting is free; else the trials are messages, with the shortest reply there is.
        counted = await self._is_witness(turn)
        while (view := search.trial) is not None:
            budget = driver.world.limits.budget
            if budget.spent(driver.turn, self._sender.seconds(driver.turn)) is not None:
                return self._rest(driver.turn)
            driver.flush()
            passed = await (self._counts(view) if counted else self._tries(view))
            if passed is None:
                return self._rest(driver.turn)  # nothing is concluded from an outage
            driver.apply(
                ev.Probed(turn.number, f"the conversation {search.phase}", passed)
            )
            search = search.told(passed)
        if search.found is None:
            return await self._otherwise(driver.turn)
        why = "a part of the history is refused, as trials have shown"
        self._sender.go_on(Choose(Remedy.BISECT, why, search.found))
        return True

    async def _otherwise(self, turn: Turn) -> bool:
        """No part of the past is to blame: do without what stands around it.

        It is proved like everything else: without it the request passes, and with it
        the request is still refused. An outage that is over proves nothing.
        """
        assert turn.fault is not None, "only a turn that failed is searched"
        for left in otherwise(self._driver.snapshot, turn.fault):
            if left.view is None or not await self._proved(left.view, True):
                continue
            if not await self._proved(self._driver.snapshot.showing, False):
                break
            self._sender.go_on(left)
            return True
        return self._rest(self._driver.turn)

    async def _proved(self, view: View, expected: bool) -> bool:
        """Whether a trial comes out as expected."""
        driver, turn = self._driver, self._driver.turn
        driver.flush()
        passed = await self._tries(view)
        question = "it without what stands around it" if expected else "it as it is"
        driver.apply(ev.Probed(turn.number, question, passed is True))
        return passed is expected

    def _small(self) -> Request:
        """A question as short as can be, with the settings that were not refused."""
        snapshot, turn = self._driver.snapshot, self._driver.turn
        left_out = (
            op for op in snapshot.showing.ops if isinstance(op, DropField | DropBeta)
        )
        view = View(tuple(left_out))
        body = build(
            snapshot.profile,
            History(),
            None,
            b'{"type":"text","text":"Say OK."}',
            view=view,
            max_tokens=self._least(snapshot),
        )
        names = betas(snapshot.profile, None, Purpose.MESSAGE, view=view)
        return Request(turn.number, turn.attempt, Purpose.MESSAGE, body, names)

    def _trial(self, view: View) -> Request:
        snapshot, turn = self._driver.snapshot, self._driver.turn
        body = build(
            snapshot.profile,
            snapshot.history,
            snapshot.base,
            turn.staged,
            view=view,
            max_tokens=self._least(snapshot),
        )
        names = betas(snapshot.profile, snapshot.base, Purpose.MESSAGE, view=view)
        return Request(turn.number, turn.attempt, Purpose.MESSAGE, body, names)

    def _least(self, snapshot: Snapshot) -> int:
        """The shortest reply that the settings allow to ask for."""
        thinking: Any = snapshot.profile.setting("thinking")
        fixed = isinstance(thinking, dict) and "budget_tokens" in thinking
        return snapshot.profile.max_tokens if fixed else 1

    async def _is_witness(self, turn: Turn) -> bool:
        """Whether a count says no to what a message was refused for, and to that only:
        it does for the same kind of reason, and not to everything."""
        fault = await self._uncounted(self._trial(self._driver.snapshot.showing))
        if fault is None or turn.fault is None or fault.kind is not turn.fault.kind:
            return False
        if self._judged(fault) is None:
            return False
        return await self._uncounted(self._small()) is None

    async def _counts(self, view: View) -> bool | None:
        """Whether the server counts a request, which it does only if it is legal."""
        fault = await self._uncounted(self._trial(view))
        return True if fault is None else self._judged(fault)

    async def _uncounted(self, request: Request) -> Fault | None:
        """Why the server does not count a request; None if it does."""
        try:
            await self._driver.world.model.count(request)
        except RequestFailedError as error:
            return error.fault
        return None

    async def _tries(self, view: View) -> bool | None:
        """Whether the server answers a request, with as little as can be asked for."""
        request = self._trial(view)
        return await self._passes(request.body, request.betas)

    async def _passes(self, body: bytes, names: tuple[str, ...]) -> bool | None:
        turn = self._driver.turn
        request = Request(turn.number, turn.attempt, Purpose.MESSAGE, body, names)
        try:
            await self._driver.world.model.send(request, lambda _: None)
        except RequestFailedError as error:
            return self._judged(error.fault)
        return True

    def _judged(self, fault: Fault) -> bool | None:
        """False for a definite no to the body, None for what says nothing about it."""
        return False if fault.kind in DEFINITE else None
