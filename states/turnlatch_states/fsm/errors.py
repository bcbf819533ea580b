"""The root of every error turnlatch raises, and the ones the pure core raises itself.

Each error carries its facts as fields and builds its one-line message from them: what
happened, where things stand, what to do. Catch `TurnlatchError` to catch them all.
"""

from collections.abc import Sequence

from turnlatch_states.fsm.printable import printable


class TurnlatchError(Exception):
    """Root of every error that turnlatch raises on purpose.

    `str(error)` is one line without control characters, whatever its fields hold: names
    and texts come from callers, models, servers and files. The fields are as they came.
    """

    def __str__(self) -> str:
        return printable(self._told())

    def _told(self) -> str:
        """The message; each class makes its own, and `__str__` makes it printable."""
        return super().__str__()


class DefinitionError(TurnlatchError):
    """A declared table is wrong; all its faults are listed at once.

    Attributes:
        table: Name of the table.
        faults: One sentence a fault, in reading order.
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
        table: Name of the machine that refused.
        state: The state it stands in.
        trigger: What was asked of it.
        legal: The triggers that state does have.
        why: The guard that said no, where a row exists but its guard is false.
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
                f"{self.table} {self.state}: {self.trigger!r} is refused"
                f" because not: {self.why}; nothing was changed"
            )
        return (
            f"{self.table} {self.state} has no transition for {self.trigger!r};"
            f" legal here: {legal}; nothing was changed"
        )


class SettingsError(TurnlatchError):
    """A setting that cannot be used. Nothing was changed, stored or sent.

    Attributes:
        setting: Its name.
        problem: What is wrong with it.
        remedy: What is allowed: what to give instead.
        given: What was given, shortened; never a credential. Empty where `problem` says
            it.
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
