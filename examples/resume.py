"""A conversation that outlives its process: close it, open it again, go on."""

import tempfile
from pathlib import Path

from turnlatch.simulator import Scripted, Simulator
from turnlatch.simulator.transport import simulated_client
from turnlatch.sync import Conversation


def talk(store: Path, text: str, answer: str) -> None:
    client = simulated_client(Simulator(Scripted([answer])))
    with Conversation.open("notes", store=store, client=client) as chat:
        before = len(chat.history)
        turn = chat.send(text)
        print(f"{before} exchanges were there; {turn.state.value}: {turn.text}")


with tempfile.TemporaryDirectory() as folder:
    store = Path(folder) / "chat.db"
    talk(store, "Remember the number 7.", "I will.")
    talk(store, "Which number?", "It was 7.")
