"""Watching a turn: its text as it arrives, every row that it takes, and what it waits for."""

import anyio

from turnlatch import (
    Arrived,
    Conversation,
    Move,
    Recorded,
    RetryScheduled,
    TextDelta,
    TurnEnded,
)
from turnlatch.simulator import Scripted, Simulator
from turnlatch.simulator.transport import simulated_client


async def main() -> None:
    simulator = Simulator(Scripted(["Once upon a time."]), faults="529 @1")
    client = simulated_client(simulator)

    async with Conversation.open("watch", client=client) as chat:
        async for event in chat.stream("Tell me a story."):
            match event:
                case Arrived(delta=TextDelta(text=text)):
                    print(text, end="", flush=True)
                case Recorded(move=Move(source=source, target=target)):
                    print(f"[{source} -> {target}]")
                case Recorded(event=RetryScheduled(wait_seconds=seconds)):
                    print(f"[waits {seconds:.1f} s]")
                case TurnEnded(turn=turn):
                    print(f"({turn.usage.output} tokens)")
                case _:
                    pass


anyio.run(main)
