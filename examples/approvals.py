"""A call that waits for a person, and words that are said while a turn runs."""

import anyio

from turnlatch import Conversation, Reconciled, tool
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.transport import simulated_client

PAID: dict[str, str] = {}
"""Stands for the bank's own record."""


def found(key: str) -> object:
    """How a payment ended whose end was not seen."""
    return PAID.get(key, Reconciled.NOT_DONE)


@tool(effect="ask", approval_timeout=3600, reconcile=found)
async def pay(amount: int, idempotency_key: str) -> str:
    """Pay an amount."""
    PAID[idempotency_key] = f"{amount} paid"
    return PAID[idempotency_key]


async def main() -> None:
    answers = Scripted([call("pay", amount=7), "It is paid.", "Good night."])
    client = simulated_client(Simulator(answers))

    async with Conversation.open("approvals", client=client, tools=[pay]) as chat:
        turn = await chat.send("Pay 7 for the coffee")
        for asked in turn.awaiting:  # here, or in another process, or tomorrow
            print(f"may {asked.name} run with {dict(asked.input or {})}?")
            turn = await chat.approve(asked.id, digest=asked.digest)
        print(turn.state.value, "-", turn.text, PAID.popitem()[1])

        await chat.steer("And good night")  # mostly while a turn runs
        turn = await chat.retry()
        print(turn.state.value, "-", turn.text)


anyio.run(main)
