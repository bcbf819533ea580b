"""Trials: requests without effect, which show what is to blame for a failure.

What they show, and what is tried next, is decided by the core (`search`, `trials`); this
file builds and sends them, waits between them, and reports. Every one of them is an entry
of the journal and counts against the budget of the turn.
"""

from typing import Any, final

import attrs

from turnlatch.logs import log_fault
from turnlatch.ports import RequestFailedError
from turnlatch.runtime.record import Record
from turnlatch.runtime.requests import Sender, reply_fault
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import text_block
from turnlatch_states.api.reply import Usage
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.doubt import rule_of
from turnlatch_states.machine.events import Question
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.bisect import Bisection, Phase, under
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.probes import anew, aside, otherwise, verdict
from turnlatch_states.recovery.size_or_part import (
    short_of_room,
    with_room,
    without_another,
)
from turnlatch_states.request.build import Request, betas, build
from turnlatch_states.request.history import History
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import DropBeta, DropField, View

_FOUND = "a part of the history is refused, as trials have shown"
_TOO_LONG = (
    "it is too long: without any part of some size it passes, as trials have shown"
)
_SMALL = "a small request"


class _SpentError(Exception):
    """The turn has used up what it was allowed, in the middle of a search."""


@final
class Trials:
    """The trials of one conversation."""

    def __init__(self, record: Record, sender: Sender) -> None:
        self._record = record
        self._sender = sender
        self._counted = 0  # the turn in which a count told what was found
        self._stream = False
        self._known: dict[tuple[object, ...], bool] = {}
        self._failing: tuple[Fault, int] | None = None  # the last answer, and how often
        self._spent: Usage | None = None  # by the last trial, until that is told

    async def small(self, *, stream: bool) -> None:
        """Ask the server something short of the same kind, and note how that ended."""
        self._stream, self._failing = stream, None
        await self._well(self._record.snapshot, Question.SMALL)

    async def search(self, *, stream: bool) -> ChangeRequest | None:
        """What passes, where the request as it is does not; None if nothing is found,
        or nothing can be concluded."""
        self._stream, self._failing = stream, None
        snapshot = self._record.snapshot
        fault, turn = self._searched, self._record.turn
        again = Remedy.BISECT in turn.tried
        if again and turn.number != self._counted:
            return None  # what trials have shown, they would show again
        # A ladder was climbed before, in vain, unless nothing was known of the refusal.
        unknown = fault.definite and fault.kind in (FaultKind.INVALID, FaultKind.BLOCK)
        if again or not unknown:
            snapshot = anew(snapshot, self._record.world.policies)
        await self._record.save()
        try:
            # Counting is free; else the trials are messages. What was found by counting
            # and did not help was refused for another reason.
            counted = not again and await self._is_witness(fault, snapshot)
            first = Bisection.of(snapshot, words=not unknown)
            search = await self._narrowed(first, counted=counted)
            if search is None:
                return None
            made = await self._concluded(search)
        except _SpentError:
            return None
        if rule_of(fault) is None:
            return made
        if made is None:
            self._tell("all trials together", False, Question.SEARCH)
            return None
        return attrs.evolve(made, passing=True, seconds=self._rest())

    @property
    def _searched(self) -> Fault:
        fault = self._record.turn.fault
        assert fault is not None, "only a turn that failed is searched"
        return fault

    async def _narrowed(self, search: Bisection, *, counted: bool) -> Bisection | None:
        """The search at its end; None where nothing is concluded from an outage."""
        while (view := search.trial) is not None:
            shown = under(search.snapshot, view)
            passed, other = await self._judged(search, shown, counted=counted)
            if passed is None and other is None:
                return None
            if other is None:
                search = search.told(passed is True)
            elif counted:  # what else a count says is about counts
                search, counted = Bisection.of(search.snapshot), False
            else:
                search = search.anew(other)
            if self._runs_out():
                search = search.cut_short()
        self._counted = self._record.turn.number if counted else 0
        return search

    def _runs_out(self) -> bool:
        """Whether only as many requests are left as it takes to prove what was found,
        and to go on with it."""
        rule = rule_of(self._searched)
        proof = 1 if rule is None else rule.repeats
        allowed = self._record.world.limits.requests_per_turn_max
        return allowed - self._record.turn.requests <= proof + 1

    async def _concluded(self, search: Bisection) -> ChangeRequest | None:
        if search.found is not None:
            if await self._is_size(search, search.found):
                if self._searched.definite:
                    return ChangeRequest(Remedy.MAKE_ROOM, _TOO_LONG)
                shorter = with_room(search.snapshot, search.found)
                return ChangeRequest(Remedy.BISECT, _TOO_LONG, shorter)
            return ChangeRequest(Remedy.BISECT, _FOUND, search.found)
        if search.blames_words:
            return None
        return await self._otherwise(search.snapshot)

    async def _is_size(self, search: Bisection, found: View) -> bool:
        """Whether it is the length that is refused, and not the part that was found."""
        snapshot = search.snapshot
        if not self._searched.definite and short_of_room(snapshot):
            return True
        if Remedy.MAKE_ROOM in self._record.turn.tried:
            return False  # there is no room to be made
        if search.sized is not None:
            return search.sized
        other = without_another(snapshot, found)
        if other is None:
            return False
        # What a count told is asked of a count again: a message may be refused for
        # another part, and would pass without that one.
        counted = self._counted == self._record.turn.number
        return bool(await self._tries(snapshot, other, counted=counted))

    async def _judged(
        self, search: Bisection, shown: Snapshot, *, counted: bool
    ) -> tuple[bool | None, View | None]:
        """What a trial shows, and what it has to be shown without beside that.

        What was shown earlier is not asked again, in this turn or a later one, but for
        the request as it is: a search that was cut short goes on where it was.
        """
        key = self._key(search, shown, counted=counted)
        if key is not None and key in self._known:
            return self._known[key], None
        question = f"the conversation {search.phase}"
        passed, other = await self._asked(shown, question, counted=counted)
        if key is not None and passed is not None and other is None:
            self._known[key] = passed
        return passed, other

    def _key(
        self, search: Bisection, shown: Snapshot, *, counted: bool
    ) -> tuple[object, ...] | None:
        if search.phase in (Phase.STILL, Phase.WORDS):
            return None
        fault, calls = self._searched, self._record.turn.calls
        here = (len(shown.history), tuple(call.result for call in calls))
        if self._known and next(iter(self._known))[0] != here:
            self._known.clear()
        return here, fault.kind, fault.status, shown.showing, shown.bases, counted

    async def _asked(
        self, shown: Snapshot, question: str, *, counted: bool = False
    ) -> tuple[bool | None, View | None]:
        """What a trial shows once it was made as often as its kind of fault asks for,
        with the waits in between; and without what it is shown instead, where it was
        refused for a known reason beside the one that is searched for."""
        rule, failed = rule_of(self._searched), 0
        while True:
            fault = await self._answer(shown, question, counted=counted)
            other = self._aside(shown, fault)
            passed = verdict(self._searched, fault)
            if passed or other is not None or counted:
                return passed, other
            failed += 1
            if passed is None:
                return await self._stays(shown, question, fault), None
            if fault is None or fault.definite:
                return False, None
            if rule is None or failed >= rule.repeats:
                return False, None

    async def _stays(
        self, shown: Snapshot, question: str, fault: Fault | None
    ) -> bool | None:
        """Whether a trial passes that met a bad moment, if that was one: it was none
        where the server is well, and still fails at it."""
        if fault is None or not fault.may_pass or not fault.status:
            return None
        if not await self._well(shown, Question.TRIAL):
            return None
        return verdict(fault, await self._answer(shown, question))

    async def _well(self, shown: Snapshot, about: Question) -> bool:
        """Whether the server answers something short.

        What it names in that request is left out of it: a server that says what it does
        not like is well.
        """
        while True:
            await self._afford()
            fault = await self._sent(self._small(shown))
            view = self._aside(shown, fault)
            if view is None:
                well = fault is None or fault.kind is FaultKind.REFUSAL
                self._tell(_SMALL, well, about, None if well else fault)
                return well
            self._tell(_SMALL, False, Question.TRIAL, fault)
            shown = under(shown, view)

    async def _otherwise(self, snapshot: Snapshot) -> ChangeRequest | None:
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

    async def _both(self, snapshot: Snapshot) -> ChangeRequest | None:
        """What passes without both a part of the past and what stands around it."""
        bare = next((o.view for o in otherwise(snapshot, self._searched)), None)
        if bare is None:
            return None
        if not await self._well(under(snapshot, bare), Question.TRIAL):
            return None
        first = Bisection.of(under(snapshot, bare))
        search = await self._narrowed(first, counted=False)
        if search is None or search.found is None:
            return None
        added = set(bare.ops) - set(snapshot.showing.ops)
        kept = View(tuple(op for op in search.found.ops if op not in added))
        whole = await self._tries(snapshot, kept)
        return ChangeRequest(Remedy.BISECT, _FOUND, kept if whole else search.found)

    async def _tries(
        self, snapshot: Snapshot, view: View, *, counted: bool = False
    ) -> bool | None:
        """Whether a view passes."""
        as_it_is = view is snapshot.showing
        told = "it as it is" if as_it_is else "it without what stands around it"
        passed, _ = await self._asked(under(snapshot, view), told, counted=counted)
        return passed

    def _tell(
        self,
        question: str,
        passed: bool | None,
        about: Question = Question.TRIAL,
        fault: Fault | None = None,
    ) -> None:
        number = self._record.turn.number
        if fault is not None:
            name, attempt = self._record.world.journal.name, self._record.turn.attempt
            now = "that was a trial, and what it shows is made use of"
            log_fault(name, number, attempt, fault, now)
        spent, self._spent = self._spent, None
        self._record.apply(
            ev.Probed(number, question, passed is True, about, fault, spent)
        )

    async def _afford(self) -> None:
        """See that one more request may be sent, once the server has had its rest, and
        make everything before durable."""
        record, turn = self._record, self._record.turn
        if self._sender.budget.spent(turn, self._sender.seconds) is not None:
            raise _SpentError
        seconds = self._rest()
        if seconds and not await self._sender.wait(seconds):
            raise _SpentError
        await record.save()

    def _rest(self) -> float:
        """How long the server is to be left alone before it is asked again."""
        failing = self._failing
        return 0.0 if failing is None else self._sender.pause_after(*failing)

    # Requests.

    def _aside(self, shown: Snapshot, fault: Fault | None) -> View | None:
        if fault is None:
            return None
        return aside(shown, self._searched, fault, self._record.world.policies)

    def _small(self, shown: Snapshot) -> Request:
        """A question as short as can be, with the settings that were not refused."""
        left_out = (
            op for op in shown.showing.ops if isinstance(op, DropField | DropBeta)
        )
        bare = attrs.evolve(shown, history=History(), bases=())
        return self._request(bare, View(tuple(left_out)), text_block("Say OK."))

    def _trial(self, shown: Snapshot) -> Request:
        return self._request(shown, shown.showing, self._record.turn.staged)

    def _request(self, shown: Snapshot, view: View, staged: bytes) -> Request:
        """A request that shows that.

        What is refused for what it says is refused whatever reply it asks for, so the
        shortest one will do. Everything else is asked in the way that failed: with the
        same limit, and streamed or not.
        """
        profile, turn = shown.profile, self._record.turn
        purpose, base = Purpose.MESSAGE, shown.base
        definite = rule_of(self._searched) is None
        most = _least(shown) if definite else turn.max_tokens
        stream = not definite and self._sender.streams(self._stream)
        body = build(
            profile,
            shown.history,
            base,
            staged,
            view=view,
            max_tokens=most,
            stream=stream,
        )
        names = betas(profile, base, purpose, view=view)
        return Request(turn.number, turn.attempt, purpose, body, names, stream)

    async def _is_witness(self, searched: Fault, snapshot: Snapshot) -> bool:
        """Whether a count says no to what a message was refused for, and to that only:
        it does for the same kind of reason, and not to everything."""
        if not searched.definite:
            return False
        await self._record.save()
        fault = await self._uncounted(self._trial(snapshot))
        if fault is None or fault.kind is not searched.kind:
            return False
        return await self._uncounted(self._small(snapshot)) is None

    async def _answer(
        self, shown: Snapshot, question: str, *, counted: bool = False
    ) -> Fault | None:
        """Why the server refuses a trial, or does not count it, which it does only if
        it is legal; None if it does neither."""
        await self._afford()
        trial = self._trial(shown)
        fault = await (self._uncounted(trial) if counted else self._sent(trial))
        passed = verdict(self._searched, fault)
        self._tell(question, passed, Question.TRIAL, fault)
        return fault

    async def _uncounted(self, request: Request) -> Fault | None:
        try:
            await self._record.world.model.count(request)
        except RequestFailedError as error:
            return error.fault
        return None

    async def _sent(self, request: Request) -> Fault | None:
        """Why the server does not answer, or the model declines; None if it answers."""
        try:
            reply = await self._record.world.model.send(request, lambda _: None)
        except RequestFailedError as error:
            fault, many = error.fault, self._failing[1] if self._failing else 0
            self._failing = (fault, many + 1) if fault.may_pass else None
            self._spent = fault.spent
            return fault
        self._failing = None
        self._spent = reply.usage
        return reply_fault(reply)


def _least(snapshot: Snapshot) -> int:
    """The shortest reply that the settings allow to ask for."""
    thinking: Any = snapshot.profile.setting("thinking")
    fixed = isinstance(thinking, dict) and "budget_tokens" in thinking
    return snapshot.profile.max_tokens if fixed else 1
