"""A report of a test crosses from one process to another, whatever the test said."""

from typing import Literal

import execnet
import pytest

HALF = "half \ud83d of a pair"


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_a_report_with_odd_text_is_sent_and_says_it(
    pytestconfig: pytest.Config, outcome: Literal["passed", "failed"]
) -> None:
    report = pytest.TestReport(
        nodeid="tests/test_odd.py::test_odd",
        location=("tests/test_odd.py", 1, "test_odd"),
        keywords={HALF: 1},
        outcome=outcome,
        longrepr=f"ValueError: {HALF}",
        when="call",
        sections=[("Captured log call", HALF)],
        user_properties=[("said", HALF)],
    )

    data = pytestconfig.hook.pytest_report_to_serializable(
        config=pytestconfig, report=report
    )

    sent = str(execnet.loads(execnet.dumps(data)))
    assert sent.count("half \\\\ud83d of a pair") == 4
