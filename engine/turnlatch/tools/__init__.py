"""Function tools: what the model may call, and what the engine may do with a call."""

from turnlatch.tools.blocks import Blocks
from turnlatch.tools.definition import (
    GivenTools,
    Reconciled,
    Tool,
    ToolCall,
    ToolSource,
    tool,
)
from turnlatch.tools.execution import run_tool
from turnlatch.tools.results import fit_result
from turnlatch.tools.sdk_tools import RunnableTool

__all__ = [
    "Blocks",
    "GivenTools",
    "Reconciled",
    "RunnableTool",
    "Tool",
    "ToolCall",
    "ToolSource",
    "fit_result",
    "run_tool",
    "tool",
]
