"""What a caller changes of an open conversation: its settings, and its pins."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from turnlatch.approving import Approving
from turnlatch.content import pin_name, pin_text
from turnlatch.logs import LOG_CALLER
from turnlatch.options import OPTIONS, demand_options
from turnlatch.runtime.endpoint import Endpoint, demand_unmixed
from turnlatch.runtime.opening import PROFILE_OPTIONS, endpoint_of, requested_profile
from turnlatch.settings import tools_by_name
from turnlatch.tools import Tool
from turnlatch_states.machine import events as ev
from turnlatch_states.request.profile import Cache, Threads


class Configuring(Approving, ABC):
    """What can be changed of an open conversation; a base of `Conversation`."""

    _options: Mapping[str, Any]

    async def configure(
        self,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        system: str | Sequence[Mapping[str, Any]] | None = None,
        tools: Sequence[Tool | Mapping[str, Any]] | None = None,
        settings: Mapping[str, Any] | None = None,
        betas: Sequence[str] | None = None,
        threads: Threads | str | None = None,
        cache: Cache | str | None = None,
        client: object = None,
    ) -> None:
        """Change settings of an open conversation; they hold from the next request on.

        What is left out stays as it is. A turn that waits for credentials is given new
        ones by `client`, and `retry()` goes on. A call that waits for approval is asked
        about anew where its tool is another one by now, and answered as unknown here
        where there is none any more.

        The prompt cache serves nothing behind the first byte that changes: the tools
        stand first, then the system prompt, then everything that was said. What the next
        request has to read anew, `prefix_change` says at once, and `PrefixChanged` when
        it leaves.

        Args:
            model: Model id.
            max_tokens: Most tokens one reply may have.
            system: The system prompt; "" for none.
            tools: All of them, instead of those that were offered; [] for none.
            settings, betas: All of them, instead of those that were set.
            threads: As in `open`. Given again, it is tried again.
            cache: As in `open`.
            client: As in `open`, for all requests from then on; the one before is closed
                if opened here. What the server holds and its limits are found out anew.

        Raises:
            SettingsError: A setting is unknown, of the wrong type or refused; nothing
                was changed.
            ConversationClosedError, JournalError: As `send`.
        """
        told = {n: v for n, v in locals().items() if n in OPTIONS}
        given = demand_options(told)
        functions = None if tools is None else tools_by_name(tools)
        async with self._alone("configure"):
            driver, was = self._open_driver(), self._endpoint
            # All that can be refused comes before anything is changed.
            asked = {**self._options, **dict.fromkeys(PROFILE_OPTIONS), **given}
            if client is None:
                asked["client"] = self._options["client"]
            else:
                asked["base_url"] = None
            profile = requested_profile(asked, driver.snapshot.profile)
            goes_to = was if client is None else endpoint_of(asked)
            if goes_to is not None and goes_to is not was:
                demand_unmixed(goes_to, driver.snapshot)
            anew = client is not None or threads is not None
            if anew or profile != driver.snapshot.profile:
                await driver.note(lambda: ev.ProfileChanged(profile))
            if functions is not None:
                driver.world.tools = functions
                self._options = {**self._options, "tools": tools}
            if goes_to is not None and goes_to is not was:
                self._endpoint = goes_to
                driver.world.model = goes_to.model
                self._options = {**self._options, "client": client, "base_url": None}
                if was is not None and was.owned:
                    await _left(was)

    async def pin(self, name: str, text: str) -> None:
        """Have a text go along with every later summary, word for word.

        A summary stands for what was said; what is pinned is said again behind it. It
        is durable when this returns, and may be called while a turn runs, by its tools
        and hooks too.

        Args:
            name: Its name, 1 to 200 characters; a pin of that name is replaced.
            text: The text.

        Raises:
            SettingsError: The API refuses the text wherever it is said, or the name is
                none.
            ConversationClosedError, JournalError: As `send`.
        """
        snapshot, name = self.snapshot, pin_name(name)
        await self._pinned(name, pin_text(name, text, snapshot.pins, snapshot.profile))

    async def unpin(self, name: str) -> None:
        """Let go of a pinned text; summaries go without it, the one in force as well.

        Raises:
            SettingsError: The name is none.
            ConversationClosedError, JournalError: As `send`.
        """
        known = type(name) is str and name in self.pins
        await self._pinned(name if known else pin_name(name), None)

    async def _pinned(self, name: str, text: str | None) -> None:
        await self._open_driver().note(lambda: ev.Pinned(name, text))


async def _left(endpoint: Endpoint) -> None:
    """Close an endpoint that nothing goes to any more; that cannot fail a change."""
    with anyio.CancelScope(shield=True):
        try:
            await endpoint.model.aclose()
        except Exception:  # the new one is in force, whatever the old one says
            LOG_CALLER.exception("the client before could not be closed")
