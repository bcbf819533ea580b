"""Watching a turn: pieces of text as they arrive, and every row the turn takes."""

import anyio

from turnlatch import Conversation, Moved, TextArrived, TurnEnded
from turnlatch.simulator import Scripted, Simulator
from turnlatch.simulator.transport import simulated_client


async def main() -> None:
    simulator = Simulator(Scripted(["Once upon a time.", "Once upon a time."]))
    client = simulated_client(simulator)

    async with Conversation.open("watch", client=client) as chat:
        async for happening in chat.stream("Tell me a story."):
            match happening:
                case Moved(source=source, target=target):
                    print(f"[{source} -> {target}]")
                case TextArrived(text=text):
                    print(text, end="")
                case TurnEnded(turn=turn):
                    print(f"({turn.usage.output} tokens)")
                case _:
                    pass


anyio.run(main)
