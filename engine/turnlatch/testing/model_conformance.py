"""The promises of `turnlatch.ports.Model`, as tests to inherit."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from turnlatch.errors import SettingsError
from turnlatch.ports import Delta, Model, RequestFailedError, TextDelta
from turnlatch.simulator import call, reply
from turnlatch.testing.messages_api import MessagesApi
from turnlatch.testing.oracle import MODEL
from turnlatch.testing.store_conformance import same
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request
from turnlatch_states.request.profile import Purpose

BETA: Final = "context-1m-2025-08-07"
"""A value of the `anthropic-beta` header that requests carry here."""

ANSWER: Final = "The answer, in one text."

_TOOL: Final = {"name": "look", "input_schema": {"type": "object"}}


def request_of(*, stream: bool = True, **fields: object) -> Request:
    """A request whose body no encoder would write like that."""
    body = {
        "model": MODEL,
        "max_tokens": 1024,
        "stream": stream,
        "tools": [_TOOL],
        "messages": [{"role": "user", "content": "Grüße"}],
        **fields,
    }
    told = json.dumps(body, indent=1).replace('"Gr', ' "\\u0047r')
    betas = (BETA,)
    return Request(1, 1, Purpose.MESSAGE, told.encode(), betas, stream)


class ModelConformance:
    """The promises of every model. Inherit it in a test module, and say how to make one:

        class TestMyModel(ModelConformance):
            def make_model(self, base_url):
                return MyModel(base_url)

    The model talks to a strict simulator of the Messages API on a loopback address.
    """

    def make_model(self, base_url: str) -> Model:
        """A model that sends to this base URL, with any key; called once for each test."""
        raise SettingsError(
            "make_model",
            f"{type(self).__name__} does not say how to make a model",
            "define make_model(self, base_url), which returns a model port",
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; override it for another event loop."""
        return asyncio.run(work)

    def asked(self, api: MessagesApi, act: Callable[[Model], Awaitable[Any]]) -> Any:
        """The result of an act of a new model; it is closed in the same event loop."""

        async def work() -> Any:
            model = self.make_model(api.base_url)
            try:
                return await act(model)
            finally:
                await model.aclose()

        return self.run(work())

    def sent(
        self, api: MessagesApi, request: Request, pieces: list[Delta] | None = None
    ) -> Reply:
        """The reply to a request."""
        heard: list[Delta] = [] if pieces is None else pieces
        found: Reply = self.asked(api, lambda model: model.send(request, heard.append))
        return found

    def fault(self, faults: str, request: Request | None = None) -> Fault:
        """The fault that a request ends in.

        Raises:
            AssertionError: It ends in a reply, or in another error.
        """
        with MessagesApi({}) as api:
            api.answers(ANSWER)
            api.faults(faults)
            try:
                found = self.sent(api, request or request_of())
            except RequestFailedError as error:
                api.all_faults_fired()
                same(len(api.requests), 1, "the number of requests that were sent")
                return error.fault
            except Exception as error:
                raise AssertionError(
                    f"{faults}: expected RequestFailedError, found"
                    f" {type(error).__name__}: {error}"
                ) from error
        raise AssertionError(
            f"{faults}: expected RequestFailedError, and {found.content!r} was returned"
            " as a whole reply"
        )

    # Replies.

    def test_a_whole_reply_is_returned(self) -> None:
        """A whole reply is returned."""
        for stream in (True, False):
            with MessagesApi({}) as api:
                api.answers(reply(ANSWER, call("look", at="x")))
                found = self.sent(api, request_of(stream=stream))
                kinds = [one["type"] for one in found.blocks]
                same(kinds, ["text", "tool_use"], "the kinds of the blocks")
                text, used = found.blocks
                same(text["text"], ANSWER, "the text")
                same((used["name"], used["input"]), ("look", {"at": "x"}), "the call")
                same(found.stop_reason, "tool_use", "the stop reason")
                same(
                    found.message_id, api.requests[0].message_id, "the id of the reply"
                )

    def test_pieces_of_a_stream_are_reported_once(self) -> None:
        """Pieces of a stream are reported once."""
        with MessagesApi({}) as api:
            api.answers(ANSWER)
            pieces: list[Delta] = []
            self.sent(api, request_of(), pieces)
            told = "".join(one.text for one in pieces if isinstance(one, TextDelta))
            same(told, ANSWER, "the text of the pieces")

    # Requests.

    def test_the_body_leaves_byte_for_byte(self) -> None:
        """The body leaves byte for byte."""
        with MessagesApi({}) as api:
            api.answers(ANSWER)
            request = request_of()
            self.sent(api, request)
            same(api.requests[0].raw, request.body, "the body of the request")

    def test_the_betas_are_sent(self) -> None:
        """The betas are sent."""
        with MessagesApi({}) as api:
            api.answers(ANSWER)
            self.sent(api, request_of())
            same(api.requests[0].betas, frozenset({BETA}), "the betas of the request")

    def test_tokens_are_counted_by_the_server(self) -> None:
        """Tokens are counted by the server."""
        with MessagesApi({}) as api:
            request = request_of()
            counted = self.asked(api, lambda model: model.count(request))
            (asked,) = api.requests
            same(asked.path.partition("?")[0], "/v1/messages/count_tokens", "the path")
            if asked.response is None:
                raise AssertionError("the count was not answered")
            body = b"".join(chunk.data for chunk in asked.response.chunks)
            same(counted, json.loads(body)["input_tokens"], "the count")

    # Faults.

    def test_a_refused_request_is_a_fault_that_says_what_was_refused(self) -> None:
        """A refused request is a fault that says what was refused."""
        found = self.fault("400 message=refused")
        same((found.kind, found.status), (FaultKind.INVALID, 400), "the fault")
        same("refused" in found.message, True, "whether the fault has the message")

    def test_an_overload_is_a_fault_and_is_not_sent_again(self) -> None:
        """An overload is a fault and is not sent again."""
        found = self.fault("529 @1")
        same((found.kind, found.status), (FaultKind.TRANSIENT, 529), "the fault")

    def test_the_wait_that_the_server_asks_for_is_in_the_fault(self) -> None:
        """The wait that the server asks for is in the fault."""
        found = self.fault("429 retry-after=7 @1")
        same(found.retry_after, 7.0, "the seconds to wait")

    def test_a_lost_connection_is_a_fault(self) -> None:
        """A lost connection is a fault."""
        found = self.fault("reset @1")
        same((found.kind, found.status), (FaultKind.TRANSIENT, None), "the fault")

    def test_a_reply_that_is_cut_off_is_a_fault(self) -> None:
        """A reply that is cut off is a fault."""
        for ending in ("clean", "eof", "reset"):
            found = self.fault(f"cut 5 {ending} @1")
            same(
                found.kind,
                FaultKind.TRANSIENT,
                f"the fault of a cut that ends {ending}",
            )

    def test_an_error_within_a_stream_is_a_fault(self) -> None:
        """An error within a stream is a fault."""
        found = self.fault("error overloaded_error after 4 @1")
        same(found.type, "overloaded_error", "the type of the fault")

    def test_a_count_that_fails_is_a_fault(self) -> None:
        """A count that fails is a fault."""
        with MessagesApi({}) as api:
            request = request_of(messages=[])
            try:
                self.asked(api, lambda model: model.count(request))
            except RequestFailedError as error:
                same(error.fault.status, 400, "the status of the fault")
            else:
                raise AssertionError("a count of no messages is not refused")
