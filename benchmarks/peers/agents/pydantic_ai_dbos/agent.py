"""An agent of pydantic-ai with its `DBOSDurability`: a turn is a workflow of DBOS, its model
requests and its tools that have an effect are steps, in a SQLite base; a turn that a process
has left unfinished is recovered first. The conversation is stored when the turn is over."""

import anthropic
import httpx2
import shop
from dbos import DBOS
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.conversation import Conversation, ConversationTypeAdapter
from pydantic_ai.durable_exec.dbos import DBOSDurability
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

STORED = shop.FOLDER / "conversation.json"


async def streamed(_context: object, events: object) -> None:
    """Take the events of a reply as they come, which lets the model stream."""
    async for _ in events:
        pass


@DBOS.step()
async def pay(amount: int) -> str:
    """Pay an amount."""
    return shop.pay(amount)


@DBOS.step()
async def write_note(text: str) -> str:
    """Keep a note."""
    return shop.write_note(text)


async def look_up(name: str) -> str:
    """Look an article up in the catalogue."""
    try:
        return shop.look_up(name)
    except LookupError as problem:
        raise ModelRetry(str(problem)) from problem


client = anthropic.AsyncAnthropic(
    max_retries=shop.ATTEMPTS - 1, timeout=httpx2.Timeout(60, read=shop.READ_SECONDS)
)
agent = Agent(
    AnthropicModel(shop.MODEL, provider=AnthropicProvider(anthropic_client=client)),
    name="shop",
    instructions=shop.SYSTEM,
    model_settings={"max_tokens": shop.MAX_TOKENS},
    tools=[pay, write_note, look_up],
    retries={"tools": 3},
    capabilities=[DBOSDurability(event_stream_handler=streamed)],
)


@DBOS.step()
async def load() -> str:
    """The conversation as it is stored."""
    return STORED.read_text() if STORED.exists() else ""


@DBOS.step()
async def save(text: str) -> None:
    """Store the conversation."""
    STORED.with_suffix(".new").write_text(text)
    STORED.with_suffix(".new").replace(STORED)


@DBOS.workflow()
async def turn(said: str) -> str:
    """One turn, from the message to the stored conversation."""
    text = await load()
    before = ConversationTypeAdapter.validate_json(text) if text else Conversation()
    result = await agent.run(said, conversation=before)
    await save(ConversationTypeAdapter.dump_json(result.conversation).decode())
    return result.output


DBOS(
    config={
        "name": "shop",
        "system_database_url": f"sqlite:///{shop.FOLDER / 'dbos.sqlite'}",
        "application_version": "1",
        "run_admin_server": False,
        "log_level": "WARNING",
    }
)
DBOS.launch()
for pending in DBOS.list_workflows(status=["PENDING", "ENQUEUED"]):
    try:
        DBOS.retrieve_workflow(pending.workflow_id).get_result()
    except Exception as problem:
        print("the turn before has failed:", problem)
# On the event loop of DBOS, as is what it recovers: both use the connections of one client.
print(DBOS.start_workflow(turn, shop.prompt()).get_result())
