"""No answer is read beyond its bound, whoever reads it: real SDK, real sockets."""

import contextlib
import gzip
import json
import re
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Iterator, Sequence

import anthropic
import anyio
import anyio.abc
import httpx2
import pytest
from tests.engine.model.wire import CLOSED, START, STOP, ask, ignore

from turnlatch.ports import RequestFailedError
from turnlatch.sdk import ReplyLimits, SdkModel
from turnlatch.sdk import sdk_model as sdk
from turnlatch_states.api.faults import Fault, FaultKind

pytestmark = [
    pytest.mark.anyio,
    # Where a body is left unread, httpx2 closes the connection and leaves its generators
    # to the garbage collector, which trio tells of.
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
]

LIMITS = ReplyLimits(
    event_bytes=4_000,
    reply_bytes=50_000,
    events=400,
    blocks=20,
    containers=900,
    refusal_bytes=1_000,
)
PIECE = 16_384
SHOWN_MAX = 700
"""Most characters that a fault says, its note about the size included."""


class Peer:
    """Answers every request with one head and these bytes; `ends` is set when the other
    side has had enough."""

    def __init__(
        self, head: str, body: Sequence[bytes], *, endless: bool = False
    ) -> None:
        self.head = head
        self.body = body
        self.endless = endless
        self.asked = 0
        self.ended = anyio.Event()

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                got = await stream.receive()
                while b"\r\n\r\n" not in got:
                    got += await stream.receive()
                length = re.search(rb"content-length: (\d+)", got, re.IGNORECASE)
                rest = int(length[1]) if length else 0
                while len(got.partition(b"\r\n\r\n")[2]) < rest:
                    got += await stream.receive()
                self.asked += 1
                close = "" if "content-length" in self.head else "connection: close\r\n"
                head = f"HTTP/1.1 {self.head}\r\n{close}\r\n"
                await stream.send(head.encode())
                for piece in self.body:
                    await stream.send(piece)
                while self.endless:
                    await stream.send(self.body[-1])
        self.ended.set()


@contextlib.asynccontextmanager
async def loopback(peer: Peer) -> AsyncGenerator[str]:
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, peer.serve)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def answer(
    peer: Peer, *, stream: bool = True, limits: ReplyLimits = LIMITS
) -> Fault:
    """The fault that an answer of the peer's is."""
    async with (
        loopback(peer) as url,
        anthropic.AsyncAnthropic(api_key="k", base_url=url) as client,
    ):
        model = SdkModel(client, limits=limits, total_seconds=60)
        with pytest.raises(RequestFailedError) as caught:
            await model.send(ask(stream), ignore)
        if peer.endless:
            with anyio.fail_after(30):  # the peer may fill what lies between first
                await peer.ended.wait()
        return caught.value.fault


ENVELOPE = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}


def packed(text: bytes, *, times: int) -> bytes:
    """`text` over and over, in as little as there is."""
    squeezed = zlib.compressobj(9, wbits=31)
    parts = [squeezed.compress(text) for _ in range(times)]
    return b"".join([*parts, squeezed.flush()])


@pytest.fixture
def _measured() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def peak() -> int:
    return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize(
    ("head", "kind", "unknown"),
    [
        ("529 Busy\r\nretry-after: 7", FaultKind.TRANSIENT, True),
        ("429 Slow\r\nretry-after: 7", FaultKind.TRANSIENT, False),
        ("400 Bad\r\nretry-after: 7", FaultKind.INVALID, False),
        ("401 Who\r\nretry-after: 7", FaultKind.AUTH, False),
        ("307 There\r\nretry-after: 7\r\nlocation: /x", FaultKind.INVALID, False),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_endless_refusal_means_what_its_status_says(
    head: str, kind: FaultKind, unknown: bool, stream: bool
) -> None:
    peer = Peer(
        head, [b'{"type":"error","error":{"message":"', b"x" * PIECE], endless=True
    )

    fault = await answer(peer, stream=stream)

    assert (fault.kind, fault.status) == (kind, int(head[:3]))
    assert fault.retry_after == 7
    assert fault.outcome_unknown is unknown
    assert fault.message.endswith("1000 bytes were read, and there are more")
    assert len(fault.message) < SHOWN_MAX
    assert peer.asked == 1


@pytest.mark.usefixtures("_measured")
@pytest.mark.parametrize("status", ["529 Busy", "200 OK"])
async def test_body_that_unpacks_beyond_the_limit_is_not_unpacked(status: str) -> None:
    body = packed(b" " * 100_000, times=600)
    assert len(body) < 100_000
    type_ = "application/json"
    peer = Peer(f"{status}\r\ncontent-encoding: gzip\r\ncontent-type: {type_}", [body])

    fault = await answer(peer)

    assert fault.kind is FaultKind.TRANSIENT
    assert fault.outcome_unknown
    assert fault.misshapen is (status == "200 OK")
    assert peak() < 20_000_000


async def test_body_that_unpacks_to_nothing_is_bounded_by_its_packed_size() -> None:
    """Behind the end of what is packed nothing comes out, and everything was kept."""
    nothing = gzip.compress(b"")
    for status in ("529 Busy", "200 OK"):
        head = f"{status}\r\ncontent-encoding: gzip\r\ncontent-type: text/event-stream"
        fault = await answer(Peer(head, [nothing, b"\0" * PIECE], endless=True))
        assert fault.kind is FaultKind.TRANSIENT
        assert fault.outcome_unknown


async def test_refusal_within_its_bound_is_read_whole() -> None:
    body = json.dumps(ENVELOPE).encode()
    for encoding, sent in (("identity", body), ("gzip", gzip.compress(body))):
        head = (
            f"529 Busy\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(sent)}"
        )
        fault = await answer(Peer(head, [sent]))
        assert (fault.type, fault.message) == ("overloaded_error", "Busy.")
        assert not fault.outcome_unknown


@pytest.mark.parametrize("charset", ["zlib_codec", "rot13", "idna", "utf-16", "nope"])
async def test_charset_of_a_refusal_decides_nothing(charset: str) -> None:
    body = json.dumps(ENVELOPE).encode()
    type_ = f"application/json; charset={charset}"
    fault = await answer(Peer(f"529 Busy\r\ncontent-type: {type_}", [body]))

    assert (fault.status, fault.type, fault.message) == (
        529,
        "overloaded_error",
        "Busy.",
    )


def _message(content: str) -> bytes:
    return (
        f'{{"id":"msg_1","type":"message","content":[{content}],"stop_reason":"end_turn"}}'
    ).encode()


WORD = '{"type":"text","text":"x"}'
TOO_LARGE: dict[str, tuple[str, Sequence[bytes], bool]] = {
    "reply": ("larger than 50000 bytes", [b" " * 60_000], False),
    "blocks": ("more than 20 content blocks", [_message(",".join([WORD] * 21))], False),
    "parts": ("more than 900 parts", [_message('{"type":"x","y":[' + "[]," * 900 + "0]}")], False),
    "line": ("an event is larger than 4000 bytes", [b"data: " + b"x" * 5_000], True),
    "event": ("an event is larger", [START, b"data: x\n" * 900], True),
    "events": ("more than 400 events", [START, b"\n\n".join([b": x"] * 500) + b"\n\n"], True),
    "stream": ("larger than 50000 bytes", [START, (b": " + b"x" * 3_000 + b"\n\n") * 20], True),
    "parts of an event": ("more than 900 parts", [b"data: [" + b"[]," * 901 + b"0]\n\n"], True),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_reply_beyond_a_limit_is_a_fault_with_unknown_outcome(name: str) -> None:
    said, body, streamed = TOO_LARGE[name]
    type_ = "text/event-stream" if streamed else "application/json"

    fault = await answer(Peer(f"200 OK\r\ncontent-type: {type_}", body))

    assert said in fault.message
    assert (fault.kind, fault.status) == (FaultKind.TRANSIENT, 200)
    assert fault.outcome_unknown
    assert fault.misshapen, "the third with the same thing wrong ends the turn"


async def test_stream_of_too_many_blocks_is_a_fault() -> None:
    def block(index: int) -> bytes:
        events = (
            {
                "type": "content_block_start",
                "index": index,
                "content_block": {"type": "x"},
            },
            {"type": "content_block_stop", "index": index},
        )
        return b"".join(
            f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode()
            for one in events
        )

    begun = START.partition(b"event: content_block_start")[0]
    ended = CLOSED.partition(b"event: message_delta")
    body = [begun, *map(block, range(21)), ended[1] + ended[2], STOP]
    head = "200 OK\r\ncontent-type: text/event-stream"

    assert "more than 20 content blocks" in (await answer(Peer(head, body))).message


async def test_names_that_a_refusal_gives_are_bounded() -> None:
    long = "x" * 5_000
    details = {"error_code": long, "paths": [f"messages.0.{long}"]}
    error = {"type": long, "message": long, "details": details}
    body = json.dumps({"type": "error", "error": error}).encode()
    head = f"400 Bad\r\nrequest-id: {long}\r\ncontent-length: {len(body)}"

    fault = await answer(Peer(head, [body]), limits=ReplyLimits())

    for said in (fault.type, fault.code, fault.request_id):
        assert said == "x" * 200
    assert fault.paths == ()
    assert len(str(fault)) < 1_200


class Reader:
    """A hook of the caller's that reads every answer whole."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def __call__(self, response: httpx2.Response) -> None:
        self.sizes.append(len(await response.aread()))


async def test_hook_of_the_caller_reads_no_more_than_is_allowed() -> None:
    reader = Reader()
    peer = Peer("529 Busy", [b"x" * 20_000])
    async with loopback(peer) as url:
        http = httpx2.AsyncClient(event_hooks={"response": [reader]})
        async with anthropic.AsyncAnthropic(
            api_key="k", base_url=url, http_client=http
        ) as own:
            model = SdkModel(own, limits=LIMITS)
            for _ in range(2):
                with pytest.raises(RequestFailedError):
                    await model.send(ask(), ignore)
            assert reader.sizes == [1_000, 1_000]
            assert len(http.event_hooks["response"]) == 2, "ours is there once"
            # What the caller does with the same client is none of our business.
            assert len((await http.get(url)).content) == 20_000
            http.event_hooks = {"response": []}  # and may be set anew at any time
            with pytest.raises(RequestFailedError) as caught:
                await model.send(ask(), ignore)
            assert "1000 bytes were read" in str(caught.value.fault)


async def test_without_the_bound_everything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: the SDK reads refusals by itself."""

    def unbounded(_: SdkModel) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    monkeypatch.setattr(sdk.SdkModel, "_bounded", unbounded)
    fault = await answer(Peer("529 Busy", [b"x" * 20_000]))

    assert "bytes were read" not in fault.message
