"""Checking what a test declares, before anything runs: a test of nothing would be green."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from turnlatch.errors import SettingsError
from turnlatch.simulator import Answer, ClientCall, LoggedRequest, parse_faults
from turnlatch.simulator.wire import objects


def demand_declared(named: str, tools: object, faults: Iterable[str]) -> None:
    """The tools of a machine are a mapping, and the faults can be read.

    Args:
        named: The name of the machine.
        tools: Its tools.
        faults: The faults, as texts.

    Raises:
        SettingsError: It is not so.
        FaultScriptError: A fault cannot be read.
    """
    if not isinstance(tools, Mapping):
        raise SettingsError(
            f"{named}.tools",
            f"it is a {type(tools).__name__}",
            'write the tools by name: tools = {"pay": pay}',
        )
    for fault in faults:
        parse_faults(fault)


def called(calls: Iterable[Answer]) -> frozenset[str]:
    """The names of the tools that answers call."""
    return frozenset(
        part.name for one in calls for part in one.parts if isinstance(part, ClientCall)
    )


def demand_offered(
    requests: Sequence[LoggedRequest], calls: Iterable[Answer], ended: str
) -> None:
    """A command has sent requests, and they offer every tool that is called.

    Args:
        requests: The requests to one message in which nothing went wrong.
        calls: The calls of the model.
        ended: How the command ended, in words.

    Raises:
        SettingsError: It is not so.
    """
    if not requests:
        raise SettingsError(
            "command",
            f"it {ended}; it sent no request to ANTHROPIC_BASE_URL",
            "let its client take the base URL from the environment",
        )
    bodies = [one.body for one in requests if one.body is not None]
    tools = [each for one in bodies for each in objects(one.get("tools"))]
    offered = {str(one.get("name")) for one in tools}
    for name in sorted(called(calls) - offered):
        raise SettingsError(
            "calls",
            f"the agent has no tool {name!r}",
            f"call a tool that its requests offer: {', '.join(sorted(offered)) or 'none'}",
        )


def demand_known(
    setting: str, names: Collection[str], tools: Collection[object]
) -> None:
    """Every name is the name of a tool.

    Raises:
        SettingsError: One is not.
    """
    for name in sorted(names):
        if name not in tools:
            known = ", ".join(sorted(map(str, tools))) or "no tool"
            raise SettingsError(
                setting, f"it names {name!r}, and tools has {known}", "add it to tools"
            )
