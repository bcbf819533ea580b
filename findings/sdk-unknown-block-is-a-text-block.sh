#!/usr/bin/env bash
# Subject:  anthropic 2.14.0, a content block of a kind newer than the SDK.
# Guess:    an object of no known class, so that `isinstance(block, TextBlock)` is False for it.
# Really:   it is an instance of TextBlock, with its own `type` and with None for `text`.
# Matters:  code that picks the text by class takes the new block for text, against the declared
#           `text: str`, and fails with TypeError on a reply that is in order. Ask `block.type`.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anthropic==2.14.0 httpx2==2.16.2
"$python" - <<'PY'
import anthropic
import httpx2

REPLY = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5",
    "content": [{"type": "sketch", "strokes": "M0 0"}, {"type": "text", "text": "Done."}],
    "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=REPLY))
client = anthropic.Anthropic(
    api_key="none", base_url="http://api.invalid", max_retries=0,
    http_client=httpx2.Client(transport=transport),
)
message = client.messages.create(
    model="claude-sonnet-5", max_tokens=99, messages=[{"role": "user", "content": "Draw."}]
)
block = message.content[0]
try:
    text = "".join(b.text for b in message.content if isinstance(b, anthropic.types.TextBlock))
except TypeError as error:
    text = error
print("anthropic", anthropic.__version__)
print("class:", type(block).__name__, "type:", block.type, "text:", block.text)
print("text by class:", repr(text))
print("text by type:", "".join(b.text for b in message.content if b.type == "text"))
held = isinstance(block, anthropic.types.TextBlock) and block.text is None and isinstance(text, TypeError)
raise SystemExit(0 if held else "no longer so")
PY
