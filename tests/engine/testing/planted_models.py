"""Models that break one promise each."""

import json
from collections.abc import Callable

import attrs

from turnlatch.ports import Delta, Model, RequestFailedError, TextDelta
from turnlatch.sdk import SdkModel
from turnlatch.testing.conformance import ModelConformance
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

Report = Callable[[Delta], None]


class Around:
    """A model that does what the one inside does; a planted one breaks a promise."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    async def send(self, request: Request, report: Report) -> Reply:
        return await self.inner.send(request, report)

    async def count(self, request: Request) -> int:
        return await self.inner.count(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


class DropsCalls(Around):
    async def send(self, request: Request, report: Report) -> Reply:
        found = await super().send(request, report)
        kept = [encode(one) for one in found.blocks if one["type"] != "tool_use"]
        return Reply(b",".join(kept), found.meta)


class ReportsTwice(Around):
    async def send(self, request: Request, report: Report) -> Reply:
        def twice(piece: Delta) -> None:
            report(piece)
            report(piece)

        return await super().send(request, twice)


class EncodesAgain(Around):
    async def send(self, request: Request, report: Report) -> Reply:
        body = json.dumps(json.loads(request.body)).encode()
        return await super().send(attrs.evolve(request, body=body), report)


class ForgetsBetas(Around):
    async def send(self, request: Request, report: Report) -> Reply:
        return await super().send(attrs.evolve(request, betas=()), report)


class Guesses(Around):
    """It asks the server, and believes itself."""

    async def count(self, request: Request) -> int:
        return await super().count(request) + 1


class ChangesFaults(Around):
    """It gives a request that failed another fault."""

    def changed(self, fault: Fault) -> Fault:
        return fault

    async def send(self, request: Request, report: Report) -> Reply:
        try:
            return await super().send(request, report)
        except RequestFailedError as error:
            raise RequestFailedError(self.changed(error.fault)) from error


class RetriesRefusals(ChangesFaults):
    """A request that was refused counts as one that may pass."""

    def changed(self, fault: Fault) -> Fault:
        refused = fault.status == 400
        return attrs.evolve(fault, kind=FaultKind.TRANSIENT) if refused else fault


class ForgetsTheWait(ChangesFaults):
    def changed(self, fault: Fault) -> Fault:
        return attrs.evolve(fault, retry_after=None)


class SendsAgain(Around):
    """It retries by itself."""

    async def send(self, request: Request, report: Report) -> Reply:
        try:
            return await super().send(request, report)
        except RequestFailedError as error:
            if error.fault.status != 529:
                raise
            return await super().send(request, report)


class Raises(Around):
    """It lets the error of a connection through, as its transport raised it."""

    async def send(self, request: Request, report: Report) -> Reply:
        heard: list[Delta] = []

        def hear(piece: Delta) -> None:
            heard.append(piece)
            report(piece)

        try:
            return await super().send(request, hear)
        except RequestFailedError as error:
            if error.fault.status is None and not heard and not error.fault.type:
                raise ConnectionResetError(str(error)) from error
            raise


class TakesPartForWhole(Around):
    """It returns what it has heard when the reply is cut off, or when an error ends it."""

    of_error = False

    async def send(self, request: Request, report: Report) -> Reply:
        heard: list[str] = []

        def hear(piece: Delta) -> None:
            heard.append(piece.text if isinstance(piece, TextDelta) else "")
            report(piece)

        try:
            return await super().send(request, hear)
        except RequestFailedError as error:
            if not heard or bool(error.fault.type) is not self.of_error:
                raise
            text = encode({"type": "text", "text": "".join(heard)})
            return Reply(text, b'{"stop_reason":"end_turn"}')


class TakesErrorForEnd(TakesPartForWhole):
    of_error = True


class CountsNothing(Around):
    async def count(self, request: Request) -> int:
        try:
            return await super().count(request)
        except RequestFailedError:
            return 0


def suite_of(made: type[Around]) -> type[ModelConformance]:
    """The conformance of a planted model."""

    class Planted(ModelConformance):
        def make_model(self, base_url: str) -> Model:
            return made(SdkModel(base_url=base_url, api_key="test"))

    return Planted


PLANTED_MODELS: dict[str, type[ModelConformance]] = {
    "a_whole_reply_is_returned": suite_of(DropsCalls),
    "pieces_of_a_stream_are_reported_once": suite_of(ReportsTwice),
    "the_body_leaves_byte_for_byte": suite_of(EncodesAgain),
    "the_betas_are_sent": suite_of(ForgetsBetas),
    "tokens_are_counted_by_the_server": suite_of(Guesses),
    "a_refused_request_is_a_fault_that_says_what_was_refused": suite_of(
        RetriesRefusals
    ),
    "an_overload_is_a_fault_and_is_not_sent_again": suite_of(SendsAgain),
    "the_wait_that_the_server_asks_for_is_in_the_fault": suite_of(ForgetsTheWait),
    "a_lost_connection_is_a_fault": suite_of(Raises),
    "a_reply_that_is_cut_off_is_a_fault": suite_of(TakesPartForWhole),
    "an_error_within_a_stream_is_a_fault": suite_of(TakesErrorForEnd),
    "a_count_that_fails_is_a_fault": suite_of(CountsNothing),
}
"""By check, the model that fails exactly it."""
