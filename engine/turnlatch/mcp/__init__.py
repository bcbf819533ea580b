"""Tools of MCP servers: `pip install turnlatch[mcp]`."""

from turnlatch.mcp.server_tools import McpTools, mcp_tools

__all__ = ["McpTools", "mcp_tools"]
