#!/usr/bin/env bash
# Subject:  httpx2 2.16.2, `response.text`; anthropic 2.14.0, refusals.
# Guess:    a `charset` that is not a text encoding is ignored, as an unknown one is.
# Really:   any codec of Python's is taken: with `charset=zlib_codec` the text is unpacked by
#           it, and `response.text` raises a bare AssertionError. The SDK reads that text to make
#           its typed error, so the caller gets the AssertionError: no status, no type, no
#           retry-after.
# Matters:  an engine that decides by status and type what a refusal means gets neither, because
#           of a header that a proxy wrote. Setting `response.encoding` in a hook helps.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anthropic==2.14.0 httpx2==2.16.2
"$python" - <<'PY'
import zlib

import anthropic
import httpx2


def asked(charset, body):
    def answer(request):
        headers = {"content-type": f"application/json; charset={charset}", "retry-after": "7"}
        return httpx2.Response(529, headers=headers, content=body)

    client = anthropic.Anthropic(
        api_key="none", base_url="http://api.invalid", max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
    try:
        client.messages.create(
            model="claude-sonnet-5", max_tokens=8, messages=[{"role": "user", "content": "Hi."}]
        )
    except Exception as error:
        return error


body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}'
unknown = asked("nope", body)
codec = asked("zlib_codec", zlib.compress(body))
print("anthropic", anthropic.__version__, "httpx2", httpx2.__version__)
print("charset=nope:", repr(unknown))
print("charset=zlib_codec:", repr(codec))
held = isinstance(unknown, anthropic.APIStatusError) and type(codec) is AssertionError
raise SystemExit(0 if held else "no longer so")
PY
