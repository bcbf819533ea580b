"""Checking what a test declares, before anything runs: a test of nothing would be green."""

from collections.abc import Collection, Iterable, Mapping
from typing import cast

from turnlatch.errors import SettingsError
from turnlatch.simulator import Answer, ClientCall, parse_faults


def demand_declared(
    named: str, tools: object, calls: Iterable[Answer], faults: Iterable[str]
) -> None:
    """The tools of a machine are a mapping, the model calls only these, and the faults
    can be read.

    Args:
        named: The name of the machine.
        tools: Its tools.
        calls: The calls of the model.
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
    called = {
        part.name for one in calls for part in one.parts if isinstance(part, ClientCall)
    }
    demand_known(f"{named}.calls", called, cast("Mapping[str, object]", tools))


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
