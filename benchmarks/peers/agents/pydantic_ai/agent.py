"""An agent of pydantic-ai whose `Conversation` is stored as a file after each run, as its page
on persistence shows; its model's client is the SDK's."""

import anthropic
import httpx2
import shop
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.conversation import Conversation, ConversationTypeAdapter
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

STORED = shop.FOLDER / "conversation.json"
client = anthropic.AsyncAnthropic(
    max_retries=shop.ATTEMPTS - 1, timeout=httpx2.Timeout(60, read=shop.READ_SECONDS)
)
agent = Agent(
    AnthropicModel(shop.MODEL, provider=AnthropicProvider(anthropic_client=client)),
    instructions=shop.SYSTEM,
    model_settings={"max_tokens": shop.MAX_TOKENS},
    tools=[shop.pay, shop.write_note],
)


@agent.tool_plain(retries=3)
def look_up(name: str) -> str:
    """Look an article up in the catalogue."""
    try:
        return shop.look_up(name)
    except LookupError as problem:
        raise ModelRetry(str(problem)) from problem


async def streamed(_context: object, events: object) -> None:
    """Take the events of a reply as they come, which lets the model stream."""
    async for _ in events:
        pass


before = Conversation()
if STORED.exists():
    before = ConversationTypeAdapter.validate_json(STORED.read_bytes())
result = agent.run_sync(
    shop.prompt(), conversation=before, event_stream_handler=streamed
)
STORED.with_suffix(".new").write_bytes(
    ConversationTypeAdapter.dump_json(result.conversation)
)
STORED.with_suffix(".new").replace(STORED)
