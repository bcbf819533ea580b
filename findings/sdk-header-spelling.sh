#!/usr/bin/env bash
# Subject:  anthropic 2.14.0, `default_headers`.
# Guess:    header names have no case, so `Anthropic-Version` and `anthropic-version` are one
#           entry; or, seeing the SDK's own value last in `client.default_headers`, that the
#           SDK's own value wins.
# Really:   `client.default_headers` holds both spellings, and its last entry is the SDK's own
#           version. The request carries one header: the caller's.
# Matters:  an engine that records or checks the API version a conversation runs under reads it
#           from the client by its lower-case name, and gets a version that no request carries.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anthropic==2.14.0 httpx2==2.16.2
"$python" - <<'PY'
import anthropic
import httpx2

sent = []
REPLY = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def answer(request):
    sent.append([v for k, v in request.headers.multi_items() if k == "anthropic-version"])
    return httpx2.Response(200, json=REPLY)


client = anthropic.Anthropic(
    api_key="none", base_url="http://api.invalid", max_retries=0,
    default_headers={"Anthropic-Version": "2023-06-01"},
    http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
)
client.messages.create(
    model="claude-sonnet-5", max_tokens=8, messages=[{"role": "user", "content": "Hi."}]
)
shown = [(k, v) for k, v in client.default_headers.items() if k.lower() == "anthropic-version"]
print("anthropic", anthropic.__version__)
print("client.default_headers:", shown)
print("client.default_headers['anthropic-version']:", client.default_headers["anthropic-version"])
print("sent:", sent[0])
held = (
    [k for k, _ in shown] == ["Anthropic-Version", "anthropic-version"]
    and shown[1][1] != "2023-06-01"
    and sent == [["2023-06-01"]]
)
raise SystemExit(0 if held else "no longer so")
PY
