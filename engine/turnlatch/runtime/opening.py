"""What opening a conversation means: which store, which settings, which past."""

import contextlib
import gc
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import attrs

from turnlatch.errors import NotNowError, SettingsError, StoreLockedError
from turnlatch.journal.lock_waiting import at_once, patiently
from turnlatch.logs import LOG_CALLER
from turnlatch.options import Options
from turnlatch.output import Output
from turnlatch.ports import Ids, Journal, Store
from turnlatch.result import Turn
from turnlatch.rulebook import rulebook
from turnlatch.runtime.clock import SystemClock, SystemIds
from turnlatch.runtime.endpoint import Endpoint, choose_endpoint, demand_unmixed
from turnlatch.runtime.environment import Offer, World
from turnlatch.runtime.loop import Driver
from turnlatch.runtime.pricing import demand_price
from turnlatch.runtime.resume import Loaded, load, recover
from turnlatch.settings import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_MODEL,
    Limits,
    make_profile,
    tools_by_name,
)
from turnlatch.tools.definition import is_source
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.events import TurnEnded
from turnlatch.watching.from_journal import at_rest
from turnlatch_states.api.faults import RetryPolicy
from turnlatch_states.machine.events import ConversationOpened, ProfileChanged
from turnlatch_states.machine.snapshot import Snapshot, cuttable
from turnlatch_states.machine.step import begin
from turnlatch_states.recovery.policies import CompactionPolicy, Policies
from turnlatch_states.request.profile import Profile


def in_place(store: "str | Path | Store | None") -> "Path | Store | None":
    """A store's path as it is meant now, wherever the process goes later.

    Raises:
        JournalError: It names no file. An absolute path would no longer show that.
    """
    if not isinstance(store, str | os.PathLike):
        return store
    from turnlatch.journal.paths import demand_path

    path = os.fspath(store)
    demand_path(path)
    return Path(path).absolute()


def choose_store(given: "str | Path | Store | None") -> tuple[Store, bool]:
    """The store for what the caller gave, and whether to close it afterwards.

    Raises:
        JournalError: The file cannot be used.
    """
    if given is None:
        from turnlatch.journal import MemoryStore

        return MemoryStore(), False  # a fork may live on in it
    if isinstance(given, Path):
        from turnlatch.journal import SQLiteStore

        return SQLiteStore(given), True
    store: Any = given
    return store, False


async def start(
    store: Store, name: str, options: Options, endpoint: Endpoint, feed: EventLog
) -> tuple[Driver, dict[str, int]]:
    """A driver for what the journal holds, settled and ready for the next turn.

    May be cancelled while another process has the store locked.

    Returns:
        The driver, and the turn that each key opened last.

    Raises:
        SettingsError: A setting is unknown, of the wrong type or refused.
        JournalError: The journal cannot be read or written.
    """
    journal, loaded = await patiently(lambda: _taken(store, name))
    try:
        driver, profile = _driver(store, journal, loaded, options, endpoint, feed)
    except BaseException:
        _give_back(journal)
        raise
    try:
        keys = {} if loaded is None else loaded.keys
        return await _settled(driver, profile), keys
    except BaseException:
        _give_back(driver.world.journal)
        raise


def _taken(store: Store, name: str) -> tuple[Journal, Loaded | None]:
    """The journal of a conversation, and what it holds."""
    with without_collection():
        journal = store.open(name)
        try:
            return journal, load(journal.entries(), name)
        except BaseException:
            _give_back(journal)
            raise


def _give_back(journal: Journal) -> None:
    """Close a journal at once; a lease that cannot be released is found dead."""
    with at_once(), contextlib.suppress(StoreLockedError):
        journal.close()


def endpoint_of(options: Options) -> Endpoint:
    """Where the requests of a conversation with these options go.

    Raises:
        NoCredentialsError: The SDK finds no credentials for the API.
        SettingsError: No client can be made.
    """
    return choose_endpoint(
        options.client,
        options.base_url,
        options.timeout,
        options.idle_timeout,
    )


@contextlib.contextmanager
def without_collection() -> Generator[None]:
    """Keep the garbage collector from sweeping in the middle of a load.

    A load makes thousands of objects and no cycle, and each sweep looks at every object
    of the process: it was measured to cost more than the load itself.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _driver(
    store: Store,
    journal: Journal,
    loaded: Loaded | None,
    options: Options,
    endpoint: Endpoint,
    feed: EventLog,
) -> tuple[Driver, Profile]:
    """A driver for what was loaded, and the profile that it is to have."""
    tools = tools_by_name(options.tools or ())
    profile = requested_profile(options, loaded.snapshot.lasting if loaded else None)
    if loaded is not None:
        demand_unmixed(endpoint, loaded.snapshot)
    ids: Ids = options.ids or SystemIds()
    opened = None
    if loaded is None:
        opened = ConversationOpened(profile, ids.fresh())
        loaded = Loaded(begin(opened), {}, set())
    world = World(
        journal=journal,
        store=store,
        reopen=lambda: store.open(journal.name),
        model=endpoint.model,
        clock=options.clock or SystemClock(),
        ids=ids,
        tools=tools,
        policies=Policies(
            options.retry or RetryPolicy(),
            options.compaction or CompactionPolicy(),
        ),
        limits=options.limits or Limits(),
        before_compaction=options.before_compaction,
        after_compaction=options.after_compaction,
        deps=options.deps,
        offers=offers_of(options),
    )
    driver = Driver(world, loaded.snapshot, feed)
    driver.said = loaded.said
    if opened is not None:
        driver.begin(opened)
    return driver, profile


async def _settled(driver: Driver, profile: Profile) -> Driver:
    """The driver, once its beginning and what the last process left are recorded."""
    await driver.save()
    feed = driver.feed
    feed.begin(driver.world.journal.sequence)
    if driver.snapshot.lasting != profile:
        driver.apply(ProfileChanged(profile))
    recover(driver)
    ended = driver.unsaved and at_rest(driver.snapshot)
    await driver.save()
    if ended and (turn := Turn.current(driver.snapshot)) is not None:
        turn = attrs.evolve(turn, price=driver.world.limits.price)
        feed.publish(TurnEnded(feed.next(), turn))
    return driver


def requested_profile(options: Options, old: Profile | None) -> Profile:
    """The profile that the caller asks for, on top of the one that is journaled.

    It is held to the rules of the server that the client and the base URL lead to.

    Raises:
        SettingsError: A setting is unknown, of the wrong type or refused.
    """
    asked = options.profile
    kept = {} if old is None else _settings_of(old)
    merged: dict[str, Any] = {
        "model": DEFAULT_MODEL,
        "max_tokens": DEFAULT_MAX_TOKENS,
        **kept,
        **asked,
    }
    if old is not None and not asked:
        demand_price(options.limits, old)
        return old  # byte for byte as it was
    definitions = merged.pop("definitions", None)
    rules = rulebook(options.client, options.base_url)
    profile = make_profile(**merged, definitions=definitions, rules=rules)
    demand_price(options.limits, profile)
    return profile


def turn_profile(
    options: Options,
    lasting: Profile,
    given: Mapping[str, Any],
    output: Output[Any] | None,
) -> Profile | None:
    """The profile of a turn for which settings were given; None if they are the
    conversation's.

    Args:
        options: The options of the conversation.
        lasting: Its profile.
        given: The settings of the turn that the caller gave, by name, checked. Those in
            `settings` are added to the conversation's; None takes one away.
        output: The output that is asked for.

    Raises:
        SettingsError: A setting is unknown or refused.
    """
    settings: dict[str, Any] = dict(_settings_of(lasting)["settings"])
    settings.update(given.get("settings", {}))
    if output is not None:
        config: dict[str, Any] = settings.get("output_config") or {}
        settings["output_config"] = {**config, "format": output.format}
    settings = {name: one for name, one in settings.items() if one is not None}
    asked = options.without_profile()
    asked = attrs.evolve(asked, **{**given, "settings": settings})
    profile = requested_profile(asked, lasting)
    return None if profile == lasting else profile


def offers_of(options: Options) -> Callable[[Profile], Offer | None] | None:
    """A function that finds the tools, if a source has changed them since; None without
    a source.

    Changed tools that cannot be offered, because two have the same name or a rule of the
    API refuses one, are not: the former ones stay offered, and the log says why.
    """
    sources = [one for one in options.tools or () if is_source(one)]
    if not sources:
        return None
    seen = [one.version for one in sources]

    def offers(profile: Profile) -> Offer | None:
        now = [one.version for one in sources]
        if now == seen:
            return None
        seen[:] = now
        asked = attrs.evolve(options.without_profile(), tools=options.tools)
        try:
            functions = tools_by_name(options.tools or ())
            return requested_profile(asked, profile), functions
        except SettingsError:
            LOG_CALLER.exception("the changed tools are not offered")
            return None

    return offers


def _settings_of(profile: Profile) -> dict[str, Any]:
    body = dict(profile.as_body())
    kept: dict[str, Any] = {
        "model": body.pop("model"),
        "max_tokens": body.pop("max_tokens"),
        "betas": profile.betas,
        "diagnostics": profile.diagnostics,
        "threads": profile.threads,
        "cache": profile.cache,
    }
    if "system" in body:
        kept["system"] = body.pop("system")
    if "tools" in body:
        kept["definitions"] = body.pop("tools")
    kept["settings"] = body
    return kept


def size_before(snapshot: Snapshot, turns: int) -> int:
    """The length of the history without its last `turns` turns.

    Raises:
        NotNowError: The history has fewer turns.
    """
    numbers = list(dict.fromkeys(one.turn for one in snapshot.history))
    if turns > len(numbers):
        raise NotNowError(
            "rewind",
            str(snapshot.state),
            f"cannot rewind {turns} turns: the history has {len(numbers)}",
            f"rewind at most {len(numbers)}",
        )
    size = (
        snapshot.history.end_of_turn(numbers[-turns] - 1)
        if turns
        else len(snapshot.history)
    )
    while not cuttable(snapshot.history, size):
        size -= 1
    return size
