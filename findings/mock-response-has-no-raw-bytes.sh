#!/usr/bin/env bash
# Subject:  httpx2 2.16.2, `Response(content=bytes)`, as answered by `MockTransport`.
# Guess:    a mocked reply can be read in any way that a reply of the network can.
# Really:   only decoded: `iter_bytes`, and with it the SDK's own streaming, works. `iter_raw`
#           raises StreamConsumed, though the reply was not read. The same bytes given as
#           `stream=` can be read raw.
# Matters:  a recorder that keeps a reply as it came over the wire reads raw. Its tests over the
#           usual mock fail with an error that speaks of a second reader there is not.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" httpx2==2.16.2
"$python" - <<'PY'
import httpx2

EVENT = b'event: ping\ndata: {"type": "ping"}\n\n'


class Wire(httpx2.SyncByteStream):
    def __iter__(self):
        yield EVENT


REPLIES = {
    "content=": lambda request: httpx2.Response(200, content=EVENT),
    "stream=": lambda request: httpx2.Response(200, stream=Wire()),
}


def read(reply, how):
    client = httpx2.Client(transport=httpx2.MockTransport(REPLIES[reply]))
    with client.stream("POST", "http://api.invalid/v1/messages") as response:
        try:
            return b"".join(getattr(response, how)()) == EVENT
        except httpx2.StreamError as error:
            return type(error).__name__


found = {(r, how): read(r, how) for r in REPLIES for how in ("iter_bytes", "iter_raw")}
print("httpx2", httpx2.__version__)
for (reply, how), result in found.items():
    print(f"Response({reply}...).{how}():", "every byte" if result is True else result)
held = list(found.values()) == [True, "StreamConsumed", True, True]
raise SystemExit(0 if held else "no longer so")
PY
