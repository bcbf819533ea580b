"""The clients: what is installed, what is run, and what each one is known to do.

A client is a program in `programs/` that does one thing, named by its argument: `turn`
and `stream` ask for an answer, `tool` offers `add(a, b)` (or what the client brings
itself), `429` is a turn whose first request is answered 429. It prints the text it got.
"""

from typing import Final, Literal, final

import attrs

Cell = Literal["turn", "stream", "tool", "429"]
CELLS: Final[tuple[Cell, ...]] = ("turn", "stream", "tool", "429")


@final
@attrs.frozen
class Client:
    """One client.

    Attributes:
        name: As it is called.
        program: The file in `programs/`; its ending says what runs it.
        packages: What is installed, pinned; the first one's version is shown.
        tool: The name by which the model has to call the tool.
        input: The arguments of that call.
        raises_429: The client does not try again by itself: it raises, and says 429.
    """

    name: str
    program: str
    packages: tuple[str, ...]
    tool: str = "add"
    input: tuple[tuple[str, object], ...] = (("a", 3), ("b", 4))
    raises_429: bool = False

    @property
    def node(self) -> bool:
        """It comes from npm, not from PyPI."""
        return self.program.endswith((".mjs", ".sh"))

    @property
    def version(self) -> str:
        """Of its first package."""
        return self.packages[0].rpartition("@" if self.node else "==")[2]


_ECHO: Final = (("command", "echo seven: $((3+4))"), ("description", "Add"))

CLIENTS: Final = (
    Client("anthropic", "sdk.py", ("anthropic==2.14.0",)),
    Client("@anthropic-ai/sdk", "sdk.mjs", ("@anthropic-ai/sdk@1.14.0", "zod@4.1.12")),
    Client(
        "@ai-sdk/anthropic",
        "ai.mjs",
        ("@ai-sdk/anthropic@4.0.105", "ai@7.0.173", "zod@4.1.12"),
    ),
    Client(
        "claude-code",
        "claude_code.sh",
        ("@anthropic-ai/claude-code@2.1.332",),
        tool="Bash",
        input=_ECHO,
    ),
    Client(
        "claude-agent-sdk",
        "agent_sdk.py",
        ("claude-agent-sdk==0.2.189",),
        tool="mcp__sums__add",
    ),
    Client("pydantic-ai", "pydantic_ai_.py", ("pydantic-ai-slim[anthropic]==2.68.0",)),
    Client(
        "langchain-anthropic",
        "langchain_.py",
        ("langchain-anthropic==1.7.10", "langchain==1.5.2"),
    ),
    Client("litellm", "litellm_.py", ("litellm==1.110.2",), raises_429=True),
    Client("llm-anthropic", "llm_.py", ("llm-anthropic==0.30", "llm==0.36")),
    Client(
        "openai-agents",
        "openai_agents.py",
        ("openai-agents[litellm]==0.24.0",),
        raises_429=True,
    ),
    Client("strands-agents", "strands_.py", ("strands-agents[anthropic]==1.62.0",)),
    Client(
        "instructor", "instructor_.py", ("instructor[anthropic]==1.17.0",), tool="Sum"
    ),
)
"""Every client, in the order of the table."""
