"""Choosing where requests go: a port, an SDK client, a base URL, or the simulator."""

import logging
import os
from typing import Any, final

import attrs

from detent.errors import SettingsError
from detent.ports import Model
from detent.rulebook import Rulebook, rulebook

LOG = logging.getLogger("detent")


@final
@attrs.frozen
class Endpoint:
    """Where a conversation's requests go.

    Attributes:
        model: The port.
        label: Where that is, in words: `simulator`, or a base URL.
        live: False if the answers are made up by the simulator.
        owned: The conversation opened it, so it closes it.
        rules: What requests to it are held to.
    """

    model: Model
    label: str
    live: bool
    owned: bool
    rules: Rulebook = attrs.field(factory=Rulebook)


def choose_endpoint(
    client: object, base_url: str | None, timeout_seconds: float, idle_seconds: float
) -> Endpoint:
    """The endpoint for what the caller gave.

    Args:
        client: A `Model` port, any async client of the `anthropic` SDK, or None.
        base_url: A compatible base URL; None for the SDK's own choice.
        timeout_seconds: Longest one attempt may take.
        idle_seconds: Longest silence within an attempt.

    Raises:
        SettingsError: `client` is neither.
    """
    if client is not None and base_url is not None:
        raise SettingsError(
            "base_url", "a client was given too", "set the base URL on the client"
        )
    if client is not None and not hasattr(client, "with_options"):
        if all(callable(getattr(client, name, None)) for name in ("send", "count")):
            given: Any = client
            return Endpoint(given, type(given).__name__, live=True, owned=False)
        raise SettingsError(
            "client",
            f"{type(client).__name__} is no client",
            "give anthropic.AsyncAnthropic(...), another async client of the SDK, or"
            " an object with the methods of detent.ports.Model",
        )
    if client is None and base_url is None and not has_credentials():
        return _simulated(timeout_seconds, idle_seconds)
    from detent.model import SdkModel

    sdk: Any = client  # has what the SDK's clients have, as far as can be seen
    model = SdkModel(
        sdk,
        base_url=base_url,
        total_seconds=timeout_seconds,
        idle_seconds=idle_seconds,
    )
    shown = base_url or str(getattr(client, "base_url", "") or "the API")
    rules = rulebook(client, base_url)
    return Endpoint(model, shown, live=True, owned=True, rules=rules)


def has_credentials() -> bool:
    """True if the SDK would find credentials, or a base URL was set, somewhere.

    The SDK is asked itself, because it looks in more places than one variable.
    """
    if os.environ.get("ANTHROPIC_BASE_URL"):
        return True
    import anthropic

    try:
        client = anthropic.AsyncAnthropic()
    except anthropic.AnthropicError:
        return False
    found = (client.api_key, client.auth_token, getattr(client, "credentials", None))
    return any(one is not None for one in found)


def _simulated(timeout_seconds: float, idle_seconds: float) -> Endpoint:
    from detent.model import SdkModel
    from detent.simulator import Simulator
    from detent.simulator.transport import simulated_client

    LOG.warning(
        "no credentials found: this conversation runs on the built-in simulator, and"
        " its answers are made up; set ANTHROPIC_API_KEY to talk to the API"
    )
    model = SdkModel(
        simulated_client(Simulator()),
        total_seconds=timeout_seconds,
        idle_seconds=idle_seconds,
    )
    return Endpoint(model, "simulator", live=False, owned=True)
