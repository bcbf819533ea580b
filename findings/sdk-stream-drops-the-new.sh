#!/usr/bin/env bash
# Subject:  anthropic 2.14.0, `messages.stream(...).get_final_message()`.
# Guess:    the final message of a stream is the message that `create` returns. Both keep
#           additions of a later API, as the SDK's models keep unknown fields.
# Really:   `create` keeps all of it. The stream keeps of a new kind of block only what its start
#           holds, and silently drops deltas of an unknown kind, and new fields in `usage` and
#           next to the stop reason.
# Matters:  a history built from final messages sends back a reply with a hole in it, and counts
#           tokens that were not all. Only the raw events are complete.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anthropic==2.14.0 httpx2==2.16.2
"$python" - <<'PY'
import json
import warnings

import anthropic
import httpx2

warnings.simplefilter("ignore", UserWarning)  # pydantic's, about the block it does not know
SKETCH = {"type": "sketch", "strokes": "M0 0 L9 9"}
TEXT = {"type": "text", "text": "Done.", "tone": "dry"}
USAGE = {"input_tokens": 1, "output_tokens": 2, "sketch_tokens": 7}
START = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5",
    "content": [], "stop_reason": None, "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 0},
}
END = {"stop_reason": "end_turn", "stop_sequence": None, "stop_note": "complete"}
EVENTS = [
    {"type": "message_start", "message": START},
    {"type": "content_block_start", "index": 0, "content_block": {**SKETCH, "strokes": ""}},
    {
        "type": "content_block_delta", "index": 0,
        "delta": {"type": "strokes_delta", "strokes": SKETCH["strokes"]},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Done."}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "tone_delta", "tone": "dry"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": END, "usage": USAGE},
    {"type": "message_stop"},
]


def answer(request):
    if not json.loads(request.content).get("stream"):
        return httpx2.Response(200, json={**START, **END, "content": [SKETCH, TEXT], "usage": USAGE})
    lines = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=lines)


client = anthropic.Anthropic(
    api_key="none", base_url="http://api.invalid", max_retries=0,
    http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
)
question = {
    "model": "claude-sonnet-5", "max_tokens": 99,
    "messages": [{"role": "user", "content": "Draw a line."}],
}


def new(message):
    kept = message.to_dict()
    sketch, text = kept["content"]
    return {
        "strokes": sketch.get("strokes"), "tone": text.get("tone"),
        "sketch_tokens": kept["usage"].get("sketch_tokens"), "stop_note": kept.get("stop_note"),
    }


whole = new(client.messages.create(**question))
with client.messages.stream(**question) as stream:
    final = new(stream.get_final_message())
print("anthropic", anthropic.__version__)
print("create:", whole)
print("stream:", final)
held = whole == {
    "strokes": "M0 0 L9 9", "tone": "dry", "sketch_tokens": 7, "stop_note": "complete"
} and final == {"strokes": "", "tone": None, "sketch_tokens": None, "stop_note": None}
raise SystemExit(0 if held else "no longer so")
PY
