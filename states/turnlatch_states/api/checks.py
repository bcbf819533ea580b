"""Checks of settings, as values: each holds a predicate and the words for what it accepts.

A predicate answers for any object and never raises: a caller may pass any type, and that
type's methods are the caller's code. A check is also an attrs validator, so a settings
class declares its bounds next to its fields.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, final

import attrs

from turnlatch_states.fsm.errors import SettingsError

_SHOWN_MAX: Final = 40
"""Maximum characters of a text that an error shows."""

_DIGITS: Final = 30
"""Maximum digits of an integer that an error shows."""

_NUMBER_MAX: Final = 1.7976931348623157e308  # the largest finite float
_WHOLE_MAX: Final = 2**63 - 1


@final
@attrs.frozen
class Allowed:
    """The values that one setting accepts.

    Attributes:
        words: The accepted values in words, to follow "give".
        holds: True for an accepted value; never raises.
        secret: The value may hold a credential, so errors show no text.
    """

    words: str
    holds: Callable[[object], bool]
    secret: bool = False

    def demand(self, setting: str, given: object, where: str = "") -> None:
        """Refuse a value that is not accepted.

        Args:
            setting: The name of the setting.
            given: The value.
            where: The owner of the setting, if its name alone is not clear.

        Raises:
            SettingsError: The value is not accepted.
        """
        if self.holds(given):
            return
        seen = shown(given, secret=self.secret)
        told = f"{seen} is not allowed" + (f" in {where}" if where else "")
        raise SettingsError(setting, told, f"give {self.words}", seen)

    def __call__(
        self, owner: object, field: "attrs.Attribute[Any]", given: object
    ) -> None:
        """Check a field of an attrs class, as a validator."""
        self.demand(field.name, given, type(owner).__name__)


def optional(one: Allowed) -> Allowed:
    """The same check, with None accepted too."""

    def holds(given: object) -> bool:
        return given is None or one.holds(given)

    return attrs.evolve(one, words=f"{one.words}, or None", holds=holds)


def whole(least: int, most: int = _WHOLE_MAX) -> Allowed:
    """An int from `least` to `most`, both included; bools are refused."""
    words = f"a whole number, {least} or more"
    if most != _WHOLE_MAX:
        words = f"a whole number from {least} to {most}"

    def holds(given: object) -> bool:
        return type(given) is int and least <= given <= most

    return Allowed(words, holds)


def number(
    least: float = 0.0, most: float = _NUMBER_MAX, *, above: bool = False
) -> Allowed:
    """A finite int or float within bounds; bools and NaN are refused.

    Args:
        least: The lower bound.
        most: The upper bound, included.
        above: True excludes `least` itself.
    """
    low = f"above {least:g}" if above else f"{least:g} or more"
    words = f"a finite number {low}"
    if most != _NUMBER_MAX:
        words += f", up to {most:g}"

    def holds(given: object) -> bool:
        if type(given) not in (int, float):
            return False
        value: Any = given  # every comparison with NaN is false
        low = value > least if above else value >= least
        return bool(low and value <= most)

    return Allowed(words, holds)


def text(least: int = 0, most: int = _WHOLE_MAX) -> Allowed:
    """Text that UTF-8 can encode, within a length.

    Args:
        least: Minimum characters; unless it is 0, blank text is refused.
        most: Maximum characters.
    """
    words = "text that UTF-8 can encode"
    if most != _WHOLE_MAX:
        words += f", {least} to {most} characters"
    elif least:
        words += ", not blank"

    def holds(given: object) -> bool:
        if type(given) is not str or not least <= len(given) <= most:
            return False
        return encodable(given) and (least == 0 or bool(given.strip()))

    return Allowed(words, holds)


def plain(given: object) -> Any:
    """An instance of a `str` subclass, such as a `StrEnum` member, as a plain `str`.

    Methods that the subclass overrides are not called. Other objects pass unchanged.
    """
    return str.__str__(given) if isinstance(given, str) else given


def encodable(given: str) -> bool:
    """True if UTF-8 can encode the text, which means it has no lone surrogate."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_of(values: Iterable[object]) -> Allowed:
    """One of several texts.

    Args:
        values: The accepted texts or `StrEnum` members.
    """
    texts = tuple(map(str, values))
    words = " or ".join(map(repr, texts))

    def holds(given: object) -> bool:
        return isinstance(given, str) and str.__str__(given) in texts

    return Allowed(words, holds)


def flag() -> Allowed:
    """True or False."""
    return Allowed("True or False", lambda given: type(given) is bool)


def instance(kind: type, words: str) -> Allowed:
    """An instance of a class."""
    return Allowed(words, lambda given: isinstance(given, kind))


def hook(words: str) -> Allowed:
    """A function or another callable; classes are refused."""
    return Allowed(words, lambda given: callable(given) and not isinstance(given, type))


def methods(*names: str, words: str) -> Allowed:
    """An object with methods of those names; classes are refused."""

    def holds(given: object) -> bool:
        if isinstance(given, type):
            return False
        return all(callable(_part(given, name)) for name in names)

    return Allowed(words, holds)


def _part(of: object, name: str) -> object:
    """An attribute, or None; the lookup may run code that raises."""
    try:
        found: object = getattr(of, name, None)
    except Exception:  # noqa: BLE001 - an attribute that raises counts as missing
        return None
    return found


def shown(given: object, *, secret: bool = False) -> str:
    """A value as an error shows it: short, and never a credential.

    Plain values are shown. Of any other object only the type is shown: its `repr` is
    the caller's code, and may be long, fail or contain a key.

    Args:
        given: The value.
        secret: True if a text may be a credential.
    """
    kind = type(given)
    if given is None or kind is bool:
        return repr(given)
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if type(given) is float:
        return repr(given)
    if type(given) is int:
        return (
            repr(given) if abs(given) < 10**_DIGITS else f"an int over {_DIGITS} digits"
        )
    if type(given) is str:
        if secret or "sk-" in given:
            return "a text that is not shown"
        cut = given if len(given) <= _SHOWN_MAX else given[: _SHOWN_MAX - 1] + "…"
        return repr(cut)
    return f"{_article(kind.__name__)} {kind.__name__}"


def _article(name: str) -> str:
    return "an" if name[:1] in "aeiouAEIOU" else "a"
