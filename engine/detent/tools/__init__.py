"""Function tools: what the model may call, and what the engine may do with a call."""

from detent.tools.blocks import Blocks
from detent.tools.definition import Reconciled, Tool, ToolCall, tool
from detent.tools.execution import run_tool
from detent.tools.results import fit_result

__all__ = ["Blocks", "Reconciled", "Tool", "ToolCall", "fit_result", "run_tool", "tool"]
