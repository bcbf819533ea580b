"""Changing an open conversation: its settings and its pins."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import attrs

from turnlatch.approving import Approving
from turnlatch.content import pin_name, pin_text
from turnlatch.logs import LOG_CALLER
from turnlatch.options import OPTIONS, PROFILE_OPTIONS, Options, demand_options
from turnlatch.runtime.endpoint import Endpoint, demand_unmixed
from turnlatch.runtime.opening import endpoint_of, offers_of, requested_profile
from turnlatch.settings import tools_by_name
from turnlatch.tools import GivenTools
from turnlatch_states.machine import events as ev
from turnlatch_states.request.profile import Cache, Threads


class Configuring(Approving, ABC):
    """Changes to an open conversation; a base of `Conversation`."""

    _options: Options

    async def configure(
        self,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        system: str | Sequence[Mapping[str, Any]] | None = None,
        tools: GivenTools | None = None,
        settings: Mapping[str, Any] | None = None,
        betas: Sequence[str] | None = None,
        threads: Threads | str | None = None,
        cache: Cache | str | None = None,
        client: object = None,
    ) -> None:
        """Change settings of an open conversation, from the next request on.

        Omitted settings stay unchanged. For a turn that waits for credentials, pass a
        new `client` and call `retry()`. A call that waits for approval is asked about
        again if its tool has changed, and answered as unknown if its tool is gone.

        The prompt cache serves only the bytes before the first change: tools come first,
        then the system prompt, then the messages. `prefix_change` says at once how much
        the next request must read again; `PrefixChanged` says it when the request is
        sent.

        Args:
            model: Model id.
            max_tokens: Maximum tokens of one reply.
            system: The system prompt; "" for none.
            tools: The new list of tools, which replaces the old one; [] for none.
            settings, betas: New values, which replace the old ones.
            threads: As in `open`. Setting it again makes turnlatch try threads again.
            cache: As in `open`.
            client: As in `open`, for all later requests. The previous client is closed if
                turnlatch opened it. Server threads and learned limits are reset.

        Raises:
            SettingsError: A setting is unknown, of the wrong type or refused; nothing
                was changed.
            ConversationClosedError, JournalError: As for `send`.
        """
        told = {n: v for n, v in locals().items() if n in OPTIONS}
        given = demand_options(told)
        changed = {name: given[name] for name in PROFILE_OPTIONS if name in given}
        functions = None if tools is None else tools_by_name(given["tools"])
        async with self._alone("configure"):
            driver, was = self._open_driver(), self._endpoint
            # Every check comes before the first change.
            options = self._options
            if tools is not None:
                options = attrs.evolve(options, tools=given["tools"])
            if client is not None:
                options = attrs.evolve(options, client=client, base_url=None)
            asked = attrs.evolve(options.without_profile(), **changed)
            profile = requested_profile(asked, driver.snapshot.lasting)
            goes_to = was if client is None else endpoint_of(asked)
            if goes_to is not None and goes_to is not was:
                demand_unmixed(goes_to, driver.snapshot)
            reset = client is not None or threads is not None
            if reset or profile != driver.snapshot.lasting:
                await driver.note(lambda: ev.ProfileChanged(profile))
            self._options = options
            if functions is not None:
                driver.world.equip(functions)
                driver.world.offers = offers_of(options)
            if goes_to is not None and goes_to is not was:
                self._endpoint = goes_to
                driver.world.model = goes_to.model
                if was is not None and was.owned:
                    await _left(was)

    async def pin(self, name: str, text: str) -> None:
        """Keep a text word for word in every later context.

        A summary replaces earlier messages; pinned texts are sent again after it. The
        pin is durable when this returns. Tools and hooks of a running turn may call
        this.

        Args:
            name: The pin's name, 1 to 200 characters; a pin of that name is replaced.
            text: The text.

        Raises:
            SettingsError: The API refuses the text in every request, or the name is not
                allowed.
            ConversationClosedError, JournalError: As for `send`.
        """
        snapshot, name = self.snapshot, pin_name(name)
        await self._pinned(name, pin_text(name, text, snapshot.pins, snapshot.profile))

    async def unpin(self, name: str) -> None:
        """Remove a pinned text; it is no longer sent, not even after the current summary.

        Raises:
            SettingsError: The name is not allowed.
            ConversationClosedError, JournalError: As for `send`.
        """
        known = type(name) is str and name in self.pins
        await self._pinned(name if known else pin_name(name), None)

    async def _pinned(self, name: str, text: str | None) -> None:
        await self._open_driver().note(lambda: ev.Pinned(name, text))


async def _left(endpoint: Endpoint) -> None:
    """Close an endpoint that is no longer used; a failure does not undo the change."""
    with anyio.CancelScope(shield=True):
        try:
            await endpoint.model.aclose()
        except Exception:  # the new client is already in use
            LOG_CALLER.exception("the previous client could not be closed")
