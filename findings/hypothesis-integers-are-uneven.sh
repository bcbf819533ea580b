#!/usr/bin/env bash
# Subject:  hypothesis 6.170.15, `integers(low, high)`.
# Guess:    inside given bounds every number is about as likely; only an open range prefers small ones.
# Really:   up to 128 values it is so. In a wider range small numbers come up more often: of
#           0 to 1023 the lowest eighth is drawn about twice as often as its share says.
# Matters:  a state machine that draws one number for the move to be made hardly ever makes the moves
#           behind large numbers: two planted bugs of a conversation stayed hidden in 150 runs over
#           0 to 255, and were found over 0 to 119.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" hypothesis==6.170.15
cat >"$work/drawn.py" <<'PY'
import hypothesis
from hypothesis import HealthCheck, Phase, given, settings, strategies as st


def drawn(top):
    seen = []

    @settings(
        max_examples=2000,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.integers(0, top), min_size=6, max_size=6))
    def draw(numbers):
        seen.extend(numbers)

    draw()
    return seen


def lowest_eighth(top):
    seen = drawn(top)
    return sum(one < (top + 1) / 8 for one in seen) / len(seen)


print("hypothesis", hypothesis.__version__)
shares = {top: lowest_eighth(top) for top in (119, 255, 1023)}
for top, share in shares.items():
    print(f"0 to {top}: {share:.3f} of the draws are in the lowest eighth (0.125)")
held = shares[119] < 0.14 and shares[1023] > 0.18
raise SystemExit(0 if held else "no longer so")
PY
(cd "$work" && "$python" drawn.py)
