"""After a failure: waiting, asking, searching, suspending, as the ladder says.

What is decided is decided by the core (`decide`); this file does it, and reports.
"""

from typing import TYPE_CHECKING, Any, final

from detent.ports import RequestFailedError
from detent.sending import DEFINITE, Sender
from detent_states import events as ev
from detent_states.decide import Ask, GiveUp, Search, Suspend, Wait, decide
from detent_states.faults import Fault
from detent_states.history import History
from detent_states.profile import Purpose
from detent_states.remedy import Remedy
from detent_states.request import Request, betas, build
from detent_states.room import Choose, Compact
from detent_states.search import Bisection
from detent_states.snapshot import Snapshot, Turn
from detent_states.view import EMPTY, View

if TYPE_CHECKING:
    from detent.driver import Driver

NO_COUNT = frozenset({404, 405, 501})
"""How a server says that it does not count."""


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
        snapshot = driver.snapshot
        small = build(
            snapshot.profile,
            History(),
            None,
            b'{"type":"text","text":"Say OK."}',
            view=EMPTY,
            max_tokens=self._least(snapshot),
        )
        passed = await self._passes(small, snapshot.profile.betas)
        driver.apply(ev.Probed(turn.number, "a small request", passed is True))
        return True

    async def _search(self, turn: Turn) -> bool:
        """Find the part that is refused, and propose to leave it out."""
        driver = self._driver
        search = Bisection.of(driver.snapshot)
        driver.flush()
        # Counting is free, and a witness if it says no to what a message was refused
        # for; else the trials are messages, with the shortest reply there is.
        counted = await self._counts(driver.snapshot.showing) is False
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
            return self._rest(driver.turn)
        why = "a part of the history is refused, as trials have shown"
        self._sender.go_on(Choose(Remedy.BISECT, why, search.found))
        return True

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

    async def _counts(self, view: View) -> bool | None:
        """Whether the server counts a request, which it does only if it is legal."""
        try:
            await self._driver.world.model.count(self._trial(view))
        except RequestFailedError as error:
            return self._judged(error.fault)
        return True

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
        if fault.kind in DEFINITE and fault.status not in NO_COUNT:
            return False
        return None
