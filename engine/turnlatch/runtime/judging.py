"""Holding a reply to the output that the caller asked for."""

from typing import Any

from turnlatch.errors import OutputError
from turnlatch.logs import LOG_CALLER
from turnlatch.output import Output
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.stop_reasons import Outcome, may_be_last, outcome
from turnlatch_states.effects.effect import Judged
from turnlatch_states.request.build import Request
from turnlatch_states.request.profile import Purpose


def judged(reply: Reply, request: Request, output: Output[Any]) -> Judged:
    """A whole reply, with the reason why it is not the output asked for.

    A reply that calls tools or is paused is not the last one of its turn, and is not
    judged. If the type's own code fails, the reply is kept: `Turn.output` raises.
    """
    if request.purpose is not Purpose.MESSAGE or not may_be_last(reply):
        return Judged(reply)
    try:
        output.read(request.turn, reply.text)
    except OutputError as error:
        cut = outcome(reply) in (Outcome.TRUNCATED, Outcome.OVERFLOW)
        said = "The answer was cut off at its limit of tokens.\n" if cut else ""
        return Judged(reply, said + error.problem)
    except Exception:
        LOG_CALLER.exception("the type of the output raised")
    return Judged(reply)
