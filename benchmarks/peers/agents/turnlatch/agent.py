"""turnlatch, with its SQLite store; all else is as it comes, but for the two numbers that every
agent here has."""

import shop

from turnlatch import RetryPolicy, tool
from turnlatch.sync import Conversation

with Conversation.open(
    "shop",
    store=shop.FOLDER / "chat.db",
    model=shop.MODEL,
    max_tokens=shop.MAX_TOKENS,
    system=shop.SYSTEM,
    tools=[tool(shop.pay), tool(shop.write_note), tool(effect="safe")(shop.look_up)],
    base_url=shop.BASE_URL,
    idle_timeout=shop.READ_SECONDS,
    retry=RetryPolicy(attempts_max=shop.ATTEMPTS),
) as chat:
    stream = chat.stream(shop.prompt())
    for _ in stream:
        pass
    turn = stream.turn()
    print(turn.state, turn.text)
    raise SystemExit(turn.state != "confirmed")
