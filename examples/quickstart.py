"""A turn that meets a 529, on the simulator. Run it: no key is needed."""

import anyio

from turnlatch import Conversation, tool
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.transport import simulated_client


@tool(effect="safe")
async def read_file(path: str) -> str:
    """Read a text file."""
    return await anyio.Path(path).read_text(encoding="utf-8")


async def main() -> None:
    answers = Scripted([call("read_file", path=__file__), "It is an example."])
    client = simulated_client(Simulator(answers, faults="529 @2"))

    async with Conversation.open(
        "quickstart", client=client, tools=[read_file]
    ) as chat:
        turn = await chat.send("What is in this file?")

        print(turn.state.value, "-", turn.text)
        for move in turn.path:
            print(f"  {move.source} -> {move.target}")


anyio.run(main)
