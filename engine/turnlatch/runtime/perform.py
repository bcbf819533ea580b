"""Performing one effect: sending, counting, waiting, asking a hook.

Each function does one thing in the outside world and returns the outcome. It knows neither
the loop nor the record: the caller records the outcome.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from turnlatch.logs import LOG_CALLER
from turnlatch.ports import Delta, Model, RequestFailedError
from turnlatch.tasks import answered
from turnlatch_states.api.faults import Fault
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.resendable import mended
from turnlatch_states.effects.effect import CompactionDone, CompactionPlan, Verdict
from turnlatch_states.request.build import Request
from turnlatch_states.request.preflight import INSTRUCTIONS_MAX

_GRACE_SECONDS: Final = 1.0
"""How long a hook that was stopped may take to come to its end."""


Report: TypeAlias = Callable[[Delta], None]
"""Called for each piece of a reply that arrives."""


def unheard(_: Delta) -> None:
    """Discards the deltas of the engine's own requests."""


async def send(
    model: Model, request: Request, report: Report = unheard
) -> Reply | Fault:
    """The whole reply to a request, or the fault."""
    try:
        return await model.send(request, report)
    except RequestFailedError as error:
        return error.fault


async def count(model: Model, request: Request) -> Fault | None:
    """Why the token counter refuses a request; None where it counts it."""
    try:
        await model.count(request)
    except RequestFailedError as error:
        return error.fault
    return None


async def ask_hook(
    hook: Callable[[Any], Any] | None, plan: CompactionPlan, seconds: float
) -> Verdict:
    """The verdict of the caller's hook about a summary; None if it gives no usable one.

    A hook that fails must not cost the conversation its room.
    """
    if hook is None:
        return None
    try:
        said: object = await answered(
            hook, plan, seconds=seconds, grace_seconds=_GRACE_SECONDS
        )
    except (Exception, SystemExit):
        LOG_CALLER.exception("the hook before a compaction failed; it goes on")
        return None
    if said is None or isinstance(said, bool):
        return said
    if isinstance(said, str) and len(said) <= INSTRUCTIONS_MAX:
        return mended(said)
    LOG_CALLER.error(
        "the hook before a compaction gave a %s, not True, False, None or text of up"
        " to %d characters; it goes on as if there were no hook",
        type(said).__name__,
        INSTRUCTIONS_MAX,
    )
    return None


async def tell_hook(
    hook: Callable[[Any], Any], done: CompactionDone, seconds: float
) -> None:
    """Tell the caller's hook that a summary is in force, whatever the hook does."""
    try:
        await answered(hook, done, seconds=seconds, grace_seconds=_GRACE_SECONDS)
    except (Exception, SystemExit):
        LOG_CALLER.exception(
            "the hook after a compaction failed; the summary is in force"
        )
