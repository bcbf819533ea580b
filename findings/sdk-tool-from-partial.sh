#!/usr/bin/env bash
# Subject:  anthropic 2.14.0, `beta_tool`.
# Guess:    a tool bound to its session with `functools.partial` is a function like any other:
#           the bound argument is left out of the schema, the rest comes from the signature.
# Really:   without `name=` it is an AttributeError about `__name__`; with `name=` it is a bare
#           KeyError that names the first parameter left. Neither speaks of partial. A closure over
#           the same value works.
# Matters:  binding a database handle or a user to a tool is what every engine's caller does
#           first, and the error leads to the schema, where nothing is wrong.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anthropic==2.14.0
"$python" - <<'PY'
import functools

import anthropic


def look_up(session: str, order: str) -> str:
    """Looks up an order.

    Args:
        session: Whose orders are searched.
        order: The number of the order.
    """
    return f"{session}/{order}"


def attempt(**options):
    try:
        return anthropic.beta_tool(functools.partial(look_up, "ann"), **options)
    except Exception as error:
        return error


def closed_over(order: str) -> str:
    """Looks up an order."""
    return look_up("ann", order)


bare, named = attempt(), attempt(name="look_up", description="Looks up an order.")
closure = anthropic.beta_tool(closed_over)
print("anthropic", anthropic.__version__)
print("partial:", repr(bare))
print("partial, name and description given:", repr(named))
print("closure:", closure.to_dict()["input_schema"]["required"])
held = (
    isinstance(bare, AttributeError)
    and isinstance(named, KeyError)
    and named.args == ("order",)
    and closure.to_dict()["input_schema"]["required"] == ["order"]
)
raise SystemExit(0 if held else "no longer so")
PY
