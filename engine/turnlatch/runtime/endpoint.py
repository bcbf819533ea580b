"""Choosing the destination of requests: a port, an SDK client, a base URL, or the simulator.

The simulator invents its answers, so it is used only on request. By default the SDK looks
for credentials, and a conversation without any is not opened.
"""

import os
from typing import Any, Final, final

import attrs

from turnlatch.errors import NoCredentialsError, SettingsError
from turnlatch.options import SIMULATOR, URL, demand_options
from turnlatch.ports import Model
from turnlatch.rulebook import Rulebook, rulebook, stands_in
from turnlatch.urls import HoldsClient, shown_text, shown_url
from turnlatch_states.machine.snapshot import Snapshot

BASE_URL: Final = "ANTHROPIC_BASE_URL"
"""The variable in which the SDK looks for a base URL if the caller gives none."""

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Where the HTTP library looks for proxies, in small letters, too."""

_CREDENTIALS: Final = ("authorization", "x-api-key")
"""The headers that the SDK demands one of before a request leaves."""


@final
@attrs.frozen
class Endpoint(HoldsClient):
    """The destination of a conversation's requests.

    Attributes:
        model: The port.
        label: The destination in words: `simulator`, or a base URL, without a password.
        live: False if the simulator invents the answers, as far as is known: only the
            answers show what is behind a base URL.
        owned: True if the conversation opened the port, and so closes it.
        found: True for the API with credentials that the SDK found by itself.
        rules: The rules for its requests.
    """

    model: Model
    label: str
    live: bool
    owned: bool
    found: bool = False
    rules: Rulebook = attrs.field(factory=Rulebook)


def choose_endpoint(
    client: object, base_url: str | None, timeout_seconds: float, idle_seconds: float
) -> Endpoint:
    """The endpoint for what the caller gave.

    Args:
        client: A `Model` port, any async client of the `anthropic` SDK, `SIMULATOR`, or
            None for a client with credentials that the SDK finds.
        base_url: A compatible base URL; None for the SDK's choice.
        timeout_seconds: Maximum seconds of one attempt.
        idle_seconds: Maximum seconds of silence within an attempt.

    Raises:
        NoCredentialsError: The SDK finds no credentials for the API.
        SettingsError: The client is not one of these, or both options are given.
    """
    demand_options({"client": client, "base_url": base_url})
    if client is not None and base_url is not None:
        raise SettingsError(
            "base_url", "a client was given, too", "set the base URL on the client"
        )
    if client == SIMULATOR:
        return _simulated(timeout_seconds, idle_seconds)
    if client is not None and not hasattr(client, "with_options"):
        port: Any = client
        live = bool(getattr(port, "live", True))
        return Endpoint(port, type(port).__name__, live=live, owned=False)
    demand_credentials(client, base_url)
    from turnlatch.sdk import SdkModel

    sdk: Any = client  # has what the SDK's clients have, as far as can be seen
    model = SdkModel(
        sdk,
        base_url=base_url,
        total_seconds=timeout_seconds,
        idle_seconds=idle_seconds,
    )
    given_url = base_url or str(getattr(client, "base_url", "") or "")
    rules = rulebook(client, base_url)
    return Endpoint(
        model,
        shown_url(given_url) or "the API",
        live=not stands_in(given_url),
        owned=True,
        found=client is None and rules.own,
        rules=rules,
    )


def demand_unmixed(endpoint: Endpoint, snapshot: Snapshot) -> None:
    """Refuse to mix invented replies with real ones.

    A client or a base URL of the caller may lead to a simulator elsewhere, so such
    replies are recognised one by one (`Reply.simulated`).

    Raises:
        SettingsError: The endpoint would mix them.
    """
    if not endpoint.live and snapshot.history and not snapshot.simulated:
        raise SettingsError(
            "client",
            "this conversation has real answers, and the simulator's inventions would"
            " stand among them",
            "give credentials or a client, or begin another conversation",
        )
    if endpoint.found and snapshot.simulated:
        raise SettingsError(
            "client",
            "this conversation has answers that the simulator invented, and the model"
            " would take them for its own",
            'begin another conversation, or continue this one with client="simulator"',
        )


def demand_credentials(client: object = None, base_url: str | None = None) -> None:
    """Check that the SDK can authenticate a request, as far as it is known now.

    This asks the SDK, because it looks in more places than one variable: a key or
    a token in the environment, headers there, a profile, a workload's identity. Only
    Anthropic's client is checked: platform clients find credentials when they send. A
    blank key counts as missing, but hides all other credentials, as in the SDK.

    Args:
        client: A client of the SDK; None for the client that the SDK makes by itself.
        base_url: The base URL of that client.

    Raises:
        NoCredentialsError: It cannot.
        SettingsError: The environment has a bad base URL or proxy.
    """
    import anthropic
    import httpx2

    problem = "the SDK finds no credentials"
    if client is None:
        if base_url is None:
            _demand_base_url()
        _demand_proxies()
        try:
            client = anthropic.AsyncAnthropic(base_url=base_url)
        except (
            anthropic.AnthropicError,
            httpx2.InvalidURL,
            ImportError,
            OSError,
            ValueError,
        ) as error:
            said = shown_text(str(error))
            problem = f"the SDK cannot use the credentials that are set: {said}"
            raise NoCredentialsError(problem, unusable=True) from error
    elif type(client) is anthropic.AsyncAnthropic:
        problem = "this client has no credentials"
    else:
        return
    keys = [one for one in (client.api_key, client.auth_token) if one is not None]
    if any(one.strip() for one in keys):
        return
    if keys:
        problem = "the key or token that the SDK would send is empty"
        raise NoCredentialsError(problem, unusable=True)
    if getattr(client, "credentials", None) is not None:
        return
    headers = client.default_headers.items()
    if any(name.lower() in _CREDENTIALS and value != "" for name, value in headers):
        return  # a header from the caller, or one that is left out on purpose
    raise NoCredentialsError(problem)


def _demand_base_url() -> None:
    given = os.environ.get(BASE_URL, "").strip()
    if given and not URL.holds(given):
        raise SettingsError(
            BASE_URL, "the value in the environment is not allowed", f"set {URL.words}"
        )


def _demand_proxies() -> None:
    """Refuse an unusable proxy in the environment. Its text is not shown: it may hold a
    password."""
    import httpx2

    for name in (*_PROXIES, *map(str.lower, _PROXIES)):
        given = os.environ.get(name, "")
        try:
            if given:
                url = given if "://" in given else f"http://{given}"
                httpx2.AsyncClient(proxy=url, trust_env=False)
        except ImportError:
            raise SettingsError(
                name,
                "this kind of proxy needs a package that is not installed",
                "install httpx2[socks], set an http proxy, or unset it",
            ) from None
        except (httpx2.InvalidURL, ValueError):
            raise SettingsError(
                name, "it is not the URL of a proxy", "set one, or unset it"
            ) from None


def is_set_up() -> bool:
    """True if the environment has something for the API: credentials, usable or not, or a
    base URL. Missing parts are then an error, not a reason to simulate."""
    if os.environ.get(BASE_URL, "").strip():
        return True
    try:
        demand_credentials()
    except NoCredentialsError as error:
        return error.unusable
    except SettingsError:
        return True
    return True


def _simulated(timeout_seconds: float, idle_seconds: float) -> Endpoint:
    from turnlatch.sdk import SdkModel
    from turnlatch.simulator import Simulator
    from turnlatch.simulator.transport import simulated_client

    model = SdkModel(
        simulated_client(Simulator()),
        total_seconds=timeout_seconds,
        idle_seconds=idle_seconds,
    )
    return Endpoint(model, SIMULATOR, live=False, owned=True)
