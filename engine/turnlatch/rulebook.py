"""Which rules settings are held to, as far as it is known before anything is sent.

The rules of the API know its version, and two of them are about what that one service
takes: which fields there are (R1), and which of them suit its models (R20). A base URL
that is not the API's leads to a gateway, a router or another server that speaks the
format: what it takes beyond the format is its own to say, so these two are not applied
to it, and it answers for itself. Everything else, the shape of messages and tools above
all, is what the format is, and holds everywhere.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, final
from urllib.parse import urlsplit

import attrs

from turnlatch_states.api.rules import RULES, VERSION_2026, Context, Finding, check

_SIMULATOR: Final = "simulator.invalid"
_OWN_HOSTS: Final = frozenset({"api.anthropic.com", _SIMULATOR})
"""The API, and the simulator in this process, which stands for it."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The hosts that a key may be sent to without encryption: this machine."""

_ONE_SERVICE: Final = frozenset({"R1", "R20"})
_EVERYWHERE: Final = frozenset(rule.id for rule in RULES) - _ONE_SERVICE


@final
@attrs.frozen
class Rulebook:
    """The rules for one server.

    Attributes:
        version: The `anthropic-version` that requests to it carry.
        own: It is the API, or stands for it; else R1 and R20 are not applied.
    """

    version: str = VERSION_2026
    own: bool = True

    def findings(
        self, body: object, betas: frozenset[str], body_bytes: int | None = None
    ) -> Iterator[Finding]:
        """The findings that this server would refuse a body for, by these rules.

        Args:
            body: The request body.
            betas: The values of the `anthropic-beta` header.
            body_bytes: Its size; None: it is not judged.
        """
        context = Context(betas=betas, body_bytes=body_bytes, version=self.version)
        judged: Any = body
        return check(judged, context, only=None if self.own else _EVERYWHERE)


def rulebook(client: object, base_url: str | None) -> Rulebook:
    """The rules for what the caller gave as client and base URL.

    A client of the SDK tells its own base URL and headers. Without one the environment
    counts, as it does for the SDK. A `Model` port is held to be the API.
    """
    headers: Any = getattr(client, "default_headers", None)
    if client is None:
        base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL")
        lines = os.environ.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines()
        headers = dict(line.split(":", 1) for line in lines if ":" in line)
    else:
        base_url = str(getattr(client, "base_url", "") or "")
    own = not base_url or _host(base_url) in _OWN_HOSTS
    return Rulebook(_version(headers), own)


def stands_in(base_url: str) -> bool:
    """True if a base URL is that of the simulator in this process."""
    return _host(base_url) == _SIMULATOR


def _version(headers: object) -> str:
    if isinstance(headers, Mapping):
        for name, value in cast("Mapping[object, object]", headers).items():
            # A name in capitals is added before the SDK's header, and is the one that
            # is sent (seen with 2.12).
            if str(name).strip().lower() == "anthropic-version":
                return str(value).strip()
    return VERSION_2026


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
