"""The part of a URL that is shown, and the part that is sent as a header instead.

A base URL may carry a name and a password, and any URL a key in its query. The SDK and
its transport log the URL of each request, and exceptions quote it.
"""

import re
from base64 import b64encode
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s'\"<>]+")


def shown_url(url: str) -> str:
    """A URL without user, password, query and fragment; empty if it is not a URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return ""
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}" if host else ""


def shown_text(text: str) -> str:
    """A text in which each URL that may carry a secret is shown as `shown_url` does."""
    return _URL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    url = found.group()
    secret = "@" in url or "?" in url or "#" in url
    return (shown_url(url) or "(a URL)") if secret else url


def without_user(url: str) -> tuple[str, str]:
    """A URL without its name and password, and the header `Authorization` that says
    them, as HTTP clients make it of such a URL; both empty where it has neither."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return "", ""
    name, _, password = user.partition(":")
    both = f"{unquote(name)}:{unquote(password)}"
    return (
        urlunsplit(parts._replace(netloc=host)),
        "Basic " + b64encode(both.encode()).decode(),
    )


class HoldsClient:
    """A base of what holds a client, and with it credentials: it stays where it is.

    Raises:
        TypeError: It is pickled or copied, shallow or deep.
    """

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> str:
        """Refuse to be taken apart."""
        raise TypeError(
            f"{type(self).__name__} holds a client, and so credentials: it cannot be"
            " pickled or copied; make another one where it is needed"
        )
