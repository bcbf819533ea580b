"""Which tests judge the mutants of which room, and what no mutant can be judged by."""

from typing import Final

from attrs import frozen


@frozen
class Room:
    """A part of the sources that is mutated by itself.

    Attributes:
        package: The path of its modules below `states/` or `engine/`.
        tests: The files and folders that judge it: quick ones that say most about it.
    """

    package: str
    tests: tuple[str, ...]


def _states(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/states/test_{name}.py" for name in names)


_STEPS: Final = ("tests/properties/test_step.py", "tests/properties/test_fold.py")
_RULES: Final = "tests/states/rules"
_STORE: Final = "tests/engine/journal"

ROOMS: Final = {
    "machine": Room(
        "turnlatch_states/machine",
        (
            *_states("machine", "call", "thread", "steering", "outcome", "copies"),
            *_states("effects", "told", "trials", "refusals", "search"),
            *_STEPS,
        ),
    ),
    "journal": Room(
        "turnlatch/journal",
        tuple(
            f"{_STORE}/test_{name}.py"
            for name in (
                *("codec", "contract", "damage", "faults", "files", "formats"),
                *("listing", "left_log", "writers"),
            )
        ),
    ),
    "effects": Room(
        "turnlatch_states/effects",
        (
            *_states("effects", "call_decisions", "call", "copies", "search"),
            *_states("thread", "told", "trials"),
            *_STEPS,
        ),
    ),
    "recovery": Room(
        "turnlatch_states/recovery",
        (
            *_states("budget", "rungs", "search", "trials", "room", "effects"),
            "tests/properties/test_prefix.py",
        ),
    ),
    "request": Room(
        "turnlatch_states/request",
        (
            *_states("copies", "pins", "resendable", "room", "shown", "thread"),
            *_states("told", "trials", "view", "rungs", "truncate"),
            "tests/properties/test_prefix.py",
            *_STEPS,
        ),
    ),
    "api": Room(
        "turnlatch_states/api",
        (
            _RULES,
            *_states("bounds", "faults", "lengths", "outcome", "resendable", "view"),
            *("tests/engine/simulator/test_core.py", "tests/gauntlet/test_classes.py"),
        ),
    ),
    "fsm": Room(
        "turnlatch_states/fsm",
        (
            *_states("machine", "call", "thread", "printable"),
            "tests/engine/testing/test_paths.py",
        ),
    ),
}
"""Each room by the name that `PART` gives it."""

UNFIT: Final = (
    "tests/states/test_call_decisions.py::test_one_place_compares_the_end_of_a_question_with_the_clock",
    "tests/properties/test_step.py::test_nothing_but_the_commit_can_change_what_commits_change",
)
"""Tests that read the sources, in which every function stands once for each mutant."""
