"""What a caller changes of an open conversation: its settings, and its pins."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any

from detent.approving import Approving
from detent.content import pin_name, pin_text
from detent.driver import Driver
from detent.endpoint import choose_endpoint
from detent.opening import PROFILE_OPTIONS, requested_profile
from detent_states import events as ev
from detent_states.profile import Cache, Threads


class Configuring(Approving, ABC):
    """What can be changed of an open conversation; a base of `Conversation`."""

    _options: Mapping[str, Any]

    async def configure(
        self,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        settings: Mapping[str, Any] | None = None,
        betas: Sequence[str] | None = None,
        threads: Threads | str | None = None,
        cache: Cache | str | None = None,
        client: object = None,
    ) -> None:
        """Change settings of an open conversation; they hold from the next request on.

        What is left out stays as it is. A turn that waits for credentials is given new
        ones by `client`, and `retry()` goes on.

        Args:
            model: Model id.
            max_tokens: Most tokens one reply may have.
            settings, betas: All of them, instead of those that were set.
            threads: As in `open`. Given again, it is tried again.
            cache: As in `open`.
            client: As in `open`, for all requests from then on; the one before is closed
                if opened here. What the server holds and its limits are found out anew.

        Raises:
            SettingsError: A setting is unknown, of the wrong type or refused.
            ConversationClosedError, JournalError: As `send`.
        """
        given = {n: v for n, v in locals().items() if n in PROFILE_OPTIONS}
        async with self._alone("configure"):
            driver = self._open_driver()
            asked = {**self._options, **dict.fromkeys(PROFILE_OPTIONS), **given}
            asked |= {} if client is None else {"client": client}
            profile = requested_profile(asked, driver.snapshot.profile)
            anew = client is not None or threads is not None
            if anew or profile != driver.snapshot.profile:
                driver.apply(ev.ProfileChanged(profile))
                driver.flush()
            if client is not None:
                await self._go_to(driver, client)

    async def _go_to(self, driver: Driver, client: object) -> None:
        old = self._endpoint
        timeout: float = self._options["timeout"]
        idle: float = self._options["idle_timeout"]
        self._options = {**self._options, "client": client, "base_url": None}
        self._endpoint = choose_endpoint(client, None, timeout, idle)
        driver.world.model = self._endpoint.model
        if old is not None and old.owned:
            await old.model.aclose()

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
        self._pinned(name, pin_text(name, text, snapshot.pins, snapshot.profile))

    async def unpin(self, name: str) -> None:
        """Let go of a pinned text; summaries go without it, the one in force as well.

        Raises:
            SettingsError: The name is none.
            ConversationClosedError, JournalError: As `send`.
        """
        self._pinned(name if name in self.pins else pin_name(name), None)

    def _pinned(self, name: str, text: str | None) -> None:
        driver = self._open_driver()
        driver.flush()  # what was in doubt is known from here on
        driver.apply(ev.Pinned(name, text))
        driver.flush()
