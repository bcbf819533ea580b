"""Tools that come from a source which may change them: an MCP server, for example."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard

if TYPE_CHECKING:
    from turnlatch.tools.definition import Tool


class ToolSource(Protocol):
    """An item of `tools=[...]` that stands for several tools, and may change them.

    A conversation offers the tools of each source, and looks at `version` before each
    request: after a change it offers the new ones. That changes the cached prefix of the
    prompt, as `PrefixChange` says.
    """

    @property
    def offered(self) -> "Sequence[Tool]":
        """The tools that are offered now."""
        ...

    @property
    def version(self) -> int:
        """A number that grows with each change of `offered`."""
        ...


def is_source(given: object) -> TypeGuard[ToolSource]:
    """True for a source of tools."""
    return hasattr(given, "offered") and hasattr(given, "version")
