#!/usr/bin/env bash
# Subject:  pydantic_core 2.50.5, `to_jsonable_python`.
# Guess:    it returns what JSON can hold or raises; `inf_nan_mode="strings"` turns NaN into "NaN"
#           (`to_json` does so with the same option); it raises on keys that collide.
# Really:   NaN comes back as a float under "strings". `{1: ..., "1": ...}` comes back with one
#           key, without a word. A generator is read to its end and is empty afterwards. A
#           `range`, a `UserDict` and the views of a dict are refused, which a generator is not.
# Matters:  a natural choice for turning a tool's return value into a tool result. The value
#           saved is then not the value returned, and a NaN reaches the request body, where no
#           JSON parser has to take it.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" pydantic_core==2.50.5
"$python" - <<'PY'
import collections
import math

import pydantic_core
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

nan = to_jsonable_python(math.nan, inf_nan_mode="strings")
text = to_json(math.nan, inf_nan_mode="strings")
merged = to_jsonable_python({1: "first", "1": "second"})
rows = (n for n in range(3))
listed, left = to_jsonable_python(rows), list(rows)
refused = []
for value in (range(3), collections.UserDict(a=1), {"a": 1}.keys(), {"a": 1}.values()):
    try:
        to_jsonable_python(value)
    except PydanticSerializationError:
        refused.append(type(value).__name__)

print("pydantic_core", pydantic_core.__version__)
print("NaN, inf_nan_mode='strings': to_json", text, "to_jsonable_python", repr(nan))
print("{1: 'first', '1': 'second'} ->", merged)
print("generator ->", listed, "and left in it:", left)
print("refused:", refused)
held = (
    text == b'"NaN"'
    and isinstance(nan, float)
    and merged == {"1": "second"}
    and (listed, left) == ([0, 1, 2], [])
    and refused == ["range", "UserDict", "dict_keys", "dict_values"]
)
raise SystemExit(0 if held else "no longer so")
PY
