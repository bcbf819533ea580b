#!/usr/bin/env bash
# Subject:  transitions 0.9.3, states and members of a `StrEnum`.
# Guess:    a member of a `StrEnum` is text: where "alpha" is a state, `State.A` ("alpha") is that
#           state; and a machine made from the enum knows "alpha", because `model.state == "alpha"`.
# Really:   a member is taken by its name, and text by its value. In a machine of strings a model
#           whose state is `State.A` stands nowhere: ValueError, State 'A' is not a registered
#           state. In a machine of the enum a model whose state is "alpha" stands nowhere, although
#           it equals the member that it stood in before.
# Matters:  a conversation's state is an enum in the program and text in its store. A state read
#           from the store compares equal, is printed alike, and cannot take its next step.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" transitions==0.9.3
"$python" - <<'PY'
from enum import StrEnum

import transitions


class State(StrEnum):
    A = "alpha"
    B = "beta"


class Model:
    pass


def told(states, source, target, now):
    model = Model()
    row = {"trigger": "go", "source": source, "dest": target}
    transitions.Machine(model, states=states, initial=source, transitions=[row])
    equal, model.state = model.state == now, now
    try:
        return equal, model.go()
    except ValueError as error:
        return equal, str(error)


print("transitions", transitions.__version__)
seen = [
    told(["alpha", "beta"], "alpha", "beta", "alpha"),
    told(["alpha", "beta"], "alpha", "beta", State.A),
    told(State, State.A, State.B, State.A),
    told(State, State.A, State.B, "alpha"),
]
for (equal, came), what in zip(
    seen, ("strings, text", "strings, member", "enum, member", "enum, text"), strict=True
):
    print(f"machine of {what}: equal to the state before: {equal}; go: {came}")
held = seen == [
    (True, True),
    (True, "State 'A' is not a registered state."),
    (True, True),
    (True, "State 'alpha' is not a registered state."),
]
raise SystemExit(0 if held else "no longer so")
PY
