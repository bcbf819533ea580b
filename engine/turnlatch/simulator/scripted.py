"""Answers from a list, for tests that say what the model says."""

import json
import random
from bisect import insort
from collections.abc import Iterable
from typing import Final, TypeAlias, final

from turnlatch.simulator.answers import Answer, Recalling, Responder, text
from turnlatch.simulator.wire import Json, blocks, objects
from turnlatch_states.api.checks import Allowed
from turnlatch_states.fsm.errors import TurnlatchError


class ScriptUsedUpError(TurnlatchError):
    """A request came for which the script has no answer.

    Attributes:
        answers: How many it has.
        left: How many of them were not given, because their conditions did not hold.
    """

    def __init__(self, answers: int, left: int = 0) -> None:
        super().__init__(answers, left)
        self.answers = answers
        self.left = left

    def _told(self) -> str:
        if self.left:
            return (
                f"the script has {self.left} answer(s) left, but this request meets the"
                " condition of none; add one without, or name a Responder in `then`"
            )
        return (
            f"the script has {self.answers} answer(s) and all of them were given;"
            " add answers, or name a Responder in `then`"
        )


Gist: TypeAlias = tuple[tuple[str, str], ...]
"""Messages as far as two requests with the same ones agree: their roles and their words
and calls, whatever a client does to cache marks and to the form of the content."""


def _gist(request: Json) -> Gist:
    return tuple(
        (
            str(message.get("role")),
            json.dumps(
                [
                    [each.get(name) for name in ("type", "text", "id", "tool_use_id")]
                    for each in blocks(message.get("content"))
                ]
            ),
        )
        for message in objects(request.get("messages"))
        if message.get("role") != "system"
    )


_SEVERAL: Final = Allowed(
    "a list of answers and strings",
    lambda given: isinstance(given, Iterable) and not isinstance(given, str | bytes),
)
_ANSWER: Final = Allowed(
    "an answer or a string; reply(...) joins several to one answer",
    lambda given: isinstance(given, Answer | str),
)


def _all_answers(setting: str, given: Iterable[Answer | str]) -> tuple[Answer, ...]:
    _SEVERAL.demand(setting, given)
    listed = tuple(given)
    for place, each in enumerate(listed):
        _ANSWER.demand(f"{setting}[{place}]", each)
    return tuple(text(each) if isinstance(each, str) else each for each in listed)


@final
class Scripted:
    """Answers from a list, in order, each to the first request that meets its condition.

    A request that a fault or a rule turned away uses up no answer. When no answer is
    left for a request, `then` answers; without it the request is answered 500 with a
    message that says so, which an unattended test notices at once.

    Args:
        answers: The answers. A plain string is a text answer.
        then: The responder after the last answer.
        summaries: Answers to compactions, in order; an answer without text is a failed
            compaction. When they are used up the simulator invents summaries.
        again: Give an answer again whose reply a fault has spoiled, unless the client
            goes on with it all the same. False: it counts as given, and the repetition
            gets the next one, as a model that is asked twice says two things.

    Raises:
        SettingsError: `answers` or `summaries` is not a list of answers and strings.
    """

    def __init__(
        self,
        answers: Iterable[Answer | str],
        *,
        then: Responder | None = None,
        summaries: Iterable[Answer | str] = (),
        again: bool = True,
    ) -> None:
        self._answers = _all_answers("answers", answers)
        self._left = list(range(len(self._answers)))
        self._summaries = _all_answers("summaries", summaries)
        self._summarised = 0
        self._then = then
        self._again = again
        self._last: int | None = None
        self._spoiled: dict[int, Gist] = {}

    def add(self, *answers: Answer | str) -> None:
        """Append answers to the list.

        Raises:
            SettingsError: One is neither an answer nor a string.
        """
        first = len(self._answers)
        self._answers = (*self._answers, *_all_answers("answers", answers))
        self._left += range(first, len(self._answers))

    def replace(self, *answers: Answer | str) -> None:
        """Forget the answers that are left, and go on with these.

        Raises:
            SettingsError: As `add`; nothing was changed.
        """
        added = _all_answers("answers", answers)
        self._left.clear()
        self._spoiled.clear()
        self.add(*added)

    @property
    def left(self) -> int:
        """How many answers were not given yet, those that were spoiled included."""
        return len(self._left)

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """Give the next answer; see `Responder.answer`.

        Raises:
            ScriptUsedUpError: None is left for this request, and there is no `then`.
        """
        self._forget_what_arrived(request)
        for number in self._left:
            answer = self._answers[number]
            if answer.when is None or answer.when.met_by(request):
                self._left.remove(number)
                self._spoiled.pop(number, None)
                self._last = number
                return answer
        self._last = None
        if self._then is None:
            raise ScriptUsedUpError(len(self._answers), self.left)
        return self._then.answer(request, rng)

    def take_back(self, request: Json, /) -> None:
        """Give the last answer again; see `Recalling.take_back`."""
        if self._last is None:
            if isinstance(self._then, Recalling):
                self._then.take_back(request)
        elif self._again:
            insort(self._left, self._last)
            self._spoiled[self._last] = _gist(request)
            self._last = None

    def _forget_what_arrived(self, request: Json) -> None:
        """Clients accept what lacks only its end: then the conversation goes on with it."""
        if not self._spoiled:
            return
        asked = _gist(request)
        for number, before in tuple(self._spoiled.items()):
            onward = asked[len(before) :]
            if (
                asked[: len(before)] == before
                and onward
                and onward[0][0] == "assistant"
            ):
                del self._spoiled[number]
                self._left.remove(number)

    def summarise(self, request: Json, rng: random.Random, /) -> Answer | None:
        """Give the next summary; see `turnlatch.simulator.Summariser`."""
        del request, rng
        if self._summarised == len(self._summaries):
            return None
        self._summarised += 1
        return self._summaries[self._summarised - 1]
