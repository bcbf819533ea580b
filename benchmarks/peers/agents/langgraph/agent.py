"""LangChain's agent on LangGraph, with its SQLite checkpointer and `durability="sync"`."""

import sqlite3

import shop
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.sqlite import SqliteSaver


@wrap_tool_call
def errors_are_results(request, handler):
    """Tell the model of an exception, as the page on tools recommends."""
    try:
        return handler(request)
    except LookupError as problem:
        call = request.tool_call["id"]
        return ToolMessage(str(problem), tool_call_id=call, status="error")


model = ChatAnthropic(
    model=shop.MODEL,
    max_tokens=shop.MAX_TOKENS,
    max_retries=shop.ATTEMPTS - 1,
    timeout=shop.READ_SECONDS,
    streaming=True,
)
base = sqlite3.connect(shop.FOLDER / "checkpoints.db", check_same_thread=False)
agent = create_agent(
    model,
    [shop.pay, shop.write_note, shop.look_up],
    system_prompt=shop.SYSTEM,
    middleware=[errors_are_results],
    checkpointer=SqliteSaver(base),
)
thread = {"configurable": {"thread_id": "shop"}}
if agent.get_state(thread).next:
    # The process before has not come to the end of its turn: that is resumed first.
    try:
        agent.invoke(None, thread, durability="sync")
    except Exception as problem:
        print("the turn before cannot be resumed:", problem)
said = {"messages": [{"role": "user", "content": shop.prompt()}]}
agent.invoke(said, thread, durability="sync")
