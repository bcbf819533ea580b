"""The root of all turnlatch errors, and the errors that the pure core raises.

Each error carries its facts as fields and builds a one-line message from them: what
happened, where things stand, what to do. Catch `TurnlatchError` to catch them all.
"""

from collections.abc import Sequence

from turnlatch_states.fsm.printable import printable


class TurnlatchError(Exception):
    """Root of every error that turnlatch raises on purpose.

    `str(error)` is one line without control characters, because its fields hold names
    and texts of callers, models, servers and files. The fields are unchanged.
    """

    def __str__(self) -> str:
        return printable(self._told())

    def _told(self) -> str:
        """The message, which each class builds; `__str__` makes it printable."""
        return super().__str__()


class DefinitionError(TurnlatchError):
    """A declared table is wrong; the error lists all its faults.

    Attributes:
        table: Name of the table.
        faults: One sentence for each fault, in reading order.
    """

    def __init__(self, table: str, faults: Sequence[str]) -> None:
        super().__init__(table, tuple(faults))
        self.table = table
        self.faults = tuple(faults)

    def _told(self) -> str:
        listed = "; ".join(self.faults)
        return f"table {self.table!r} has {len(self.faults)} fault(s): {listed}"


class IllegalEventError(TurnlatchError):
    """An event arrived in a state that has no row for it; nothing was changed.

    Attributes:
        table: Name of the machine that refused the event.
        state: Its state.
        trigger: The refused trigger or method.
        legal: The triggers that are legal in this state.
        why: The condition that does not hold; None if the state has no row for the
            trigger at all.
    """

    def __init__(
        self,
        table: str,
        state: str,
        trigger: str,
        legal: Sequence[str],
        why: str | None = None,
    ) -> None:
        super().__init__(table, state, trigger, tuple(legal), why)
        self.table = table
        self.state = state
        self.trigger = trigger
        self.legal = tuple(legal)
        self.why = why

    def _told(self) -> str:
        legal = ", ".join(self.legal) or "nothing"
        if self.why is not None:
            return (
                f"cannot {self.trigger}: {self.table} is {self.state}, and this requires:"
                f" {self.why}; nothing was changed"
            )
        return (
            f"cannot {self.trigger}: {self.table} is {self.state};"
            f" legal here: {legal}; nothing was changed"
        )


class SettingsError(TurnlatchError):
    """A setting cannot be used. Nothing was changed, stored or sent.

    Attributes:
        setting: The setting's name.
        problem: The fault of the value.
        remedy: What to give instead.
        given: The value, shortened; never a credential. Empty if `problem` shows it.
    """

    def __init__(
        self, setting: str, problem: str, remedy: str, given: str = ""
    ) -> None:
        super().__init__(setting, problem, remedy, given)
        self.setting = setting
        self.problem = problem
        self.remedy = remedy
        self.given = given

    def _told(self) -> str:
        return f"{self.setting}: {self.problem}; {self.remedy}"


class CoreBugError(TurnlatchError, AssertionError):
    """The core contradicted itself: a bug in turnlatch, not in the caller or the world."""
