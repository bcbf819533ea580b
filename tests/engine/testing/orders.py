"""A user's own table, the machine that is meant to follow it, and bugs to plant in it."""

from typing import Final

from turnlatch_states.fsm.table import ANY, SAME, Guard, State, Table, Transition

IN_STOCK: Final = Guard("in stock", "the goods are there", lambda stock, _: stock > 0)

ORDER: Final = Table(
    name="order",
    promise="goods leave once, and only when they are paid",
    states=(
        State("new", "nothing is paid", rests=True, cell=(0, 0)),
        State("paid", "money came, goods are here", cell=(1, 0)),
        State("sent", "the goods are under way", cell=(2, 0)),
        State("done", "the goods arrived", rests=True, cell=(3, 0)),
        State("cancelled", "the money went back", final=True, cell=(1, 1)),
    ),
    initial="new",
    transitions=(
        Transition("pay", "new", "paid"),
        Transition("ship", "paid", "sent"),
        Transition("arrive", "sent", "done"),
        Transition("send back", "done", "paid"),
        Transition("cancel", "new", "cancelled"),
        Transition("cancel", "paid", "cancelled"),
        *(Transition("note", one, SAME) for one in ("new", "paid", "sent", "done")),
    ),
)

STOCKED: Final = Table(
    name="stocked",
    promise="an order is filled or waits",
    states=(
        State("open", "it was made"),
        State("filled", "the goods are there", rests=True),
        State("waiting", "the goods are not there", rests=True),
    ),
    initial="open",
    transitions=(
        Transition("fill", "open", "filled", IN_STOCK),
        Transition("fill", "open", "waiting", IN_STOCK.negate("the shelf is empty")),
        Transition("claim", "waiting", "filled", IN_STOCK),
        Transition("note", ANY, SAME),
    ),
    refusable=frozenset({"claim"}),
)
"""A table whose rows have conditions."""


class OrderDriver:
    """An order that follows its table; subclasses have one bug each."""

    rows: Final = {(row.source, row.trigger): row.target for row in ORDER.transitions}

    def __init__(self) -> None:
        self.state = "new"

    def fire(self, trigger: str) -> None:
        """Take a trigger, or refuse it."""
        if (self.state, trigger) not in self.rows:
            raise ValueError(f"an order that is {self.state} cannot {trigger}")
        self.state = self.rows[self.state, trigger]


class StockDriver:
    """Follows `STOCKED`; its stock can be arranged."""

    def __init__(self) -> None:
        self.state = "open"
        self.stock = 0

    def arrange(self, row: Transition) -> bool:
        """Fill or empty the shelf."""
        self.stock = 0 if row.guard is None else int(row.guard.test(1, None))
        return True

    def fire(self, trigger: str) -> None:
        """Take a trigger, or refuse it."""
        row = STOCKED.choose(self.state, trigger, self.stock, None)
        self.state = row.target
