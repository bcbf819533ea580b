"""Every exception class that the SDK and its transport define."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import anthropic
import httpx2


def sdk_modules() -> Iterator[ModuleType]:
    # Its types are left out, for they are a thousand: those that are raised are found
    # where the SDK looks them up.
    for found in pkgutil.walk_packages(anthropic.__path__, "anthropic."):
        if ".types" in found.name:
            continue
        try:
            yield importlib.import_module(found.name)
        except (ImportError, anthropic.AnthropicError):  # an extra is not installed
            continue


def below(cls: type[Exception]) -> set[type[Exception]]:
    """A class and all that derive from it."""
    return {cls}.union(*(below(one) for one in cls.__subclasses__()))


def sdk_exceptions() -> set[type[Exception]]:
    """What the SDK itself can raise, those that it keeps to itself included."""
    for _ in sdk_modules():
        pass
    return {
        one
        for one in below(anthropic.AnthropicError)
        if one.__module__.split(".")[0] == "anthropic"
    }


def transport_exceptions() -> set[type[Exception]]:
    """What the SDK's transport can raise."""
    return {
        one
        for _, one in inspect.getmembers(httpx2, inspect.isclass)
        if issubclass(one, Exception) and one.__module__.split(".")[0] == "httpx2"
    }
