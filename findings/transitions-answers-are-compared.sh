#!/usr/bin/env bash
# Subject:  transitions 0.9.3, `conditions=` and `unless=`.
# Guess:    a guard's answer counts by its truth, as in `if`: a match object or a non-empty list
#           lets a transition pass, and an `unless` that returns None does not stop it.
# Really:   the answer is compared, with True for `conditions` and with False for `unless`. "yes"
#           and [0] refuse as a condition, and None, "" and [] refuse as an `unless`. 1 and 0 pass
#           for what they equal. Nothing is raised: the trigger returns False.
# Matters:  guards over a conversation are often written as `message.tool_calls` or `re.search`;
#           as guards of this library they hold the machine where it is, in silence.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" transitions==0.9.3
"$python" - <<'PY'
import transitions


class Model:
    pass


def moved(kind, answer):
    row = {"trigger": "go", "source": "a", "dest": "b", kind: [lambda: answer]}
    model = Model()
    transitions.Machine(model, states=["a", "b"], initial="a", transitions=[row])
    return model.go()


print("transitions", transitions.__version__)
seen = {}
for kind, answers in (
    ("conditions", (True, 1, "yes", [0])),
    ("unless", (False, 0, None, "", [])),
):
    for answer in answers:
        seen[kind, repr(answer)] = moved(kind, answer)
        print(f"{kind} answers {answer!r}: moved {seen[kind, repr(answer)]}")
held = [key for key, went in seen.items() if went] == [
    ("conditions", "True"), ("conditions", "1"), ("unless", "False"), ("unless", "0"),
]
raise SystemExit(0 if held else "no longer so")
PY
