"""What a setting may be: checks that are values, each with the words for what it takes.

A check says yes or no to one value and never raises, whatever it is given: what callers
hand over may be of any type, and its methods are code of theirs. It serves as a validator
of attrs, so a class of settings states its bounds where it states its fields.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, final

import attrs

from turnlatch_states.fsm.errors import SettingsError

_SHOWN_MAX: Final = 40
"""How many characters of a text an error shows."""

_DIGITS: Final = 30
"""An integer that is longer is not shown."""

_NUMBER_MAX: Final = 1.7976931348623157e308  # the largest finite float
_WHOLE_MAX: Final = 2**63 - 1


@final
@attrs.frozen
class Allowed:
    """What one setting may be.

    Attributes:
        words: What is allowed, to follow "give".
        holds: Says whether a value is allowed; never raises.
        secret: What is given may hold a credential, so no error shows a text.
    """

    words: str
    holds: Callable[[object], bool]
    secret: bool = False

    def demand(self, setting: str, given: object, where: str = "") -> None:
        """Refuse what is not allowed.

        Args:
            setting: The name of the setting.
            given: What was given for it.
            where: What the setting belongs to, where its name alone does not tell.

        Raises:
            SettingsError: It is not allowed.
        """
        if self.holds(given):
            return
        seen = shown(given, secret=self.secret)
        told = f"{seen} is not allowed" + (f" in {where}" if where else "")
        raise SettingsError(setting, told, f"give {self.words}", seen)

    def __call__(
        self, owner: object, field: "attrs.Attribute[Any]", given: object
    ) -> None:
        """Check a field of an attrs class, as one of its validators."""
        self.demand(field.name, given, type(owner).__name__)


def optional(one: Allowed) -> Allowed:
    """The same, or None."""

    def holds(given: object) -> bool:
        return given is None or one.holds(given)

    return attrs.evolve(one, words=f"{one.words}, or None", holds=holds)


def whole(least: int, most: int = _WHOLE_MAX) -> Allowed:
    """A whole number in bounds that are included; True and False are none."""
    words = f"a whole number, {least} or more"
    if most != _WHOLE_MAX:
        words = f"a whole number from {least} to {most}"

    def holds(given: object) -> bool:
        return type(given) is int and least <= given <= most

    return Allowed(words, holds)


def number(
    least: float = 0.0, most: float = _NUMBER_MAX, *, above: bool = False
) -> Allowed:
    """A finite number in bounds; True and False are none, nor is what is no number.

    Args:
        least: The lowest that is allowed.
        most: The highest that is allowed.
        above: `least` itself is not allowed.
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
    """Text that UTF-8 can encode, of so many characters.

    Args:
        least: The fewest characters; where it is not 0, blank text is not allowed.
        most: The most characters.
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
    """A text of a class of its own, as a member of a `StrEnum` is, as plain text.

    What such a class overrides is not asked. Anything else is left as it is.
    """
    return str.__str__(given) if isinstance(given, str) else given


def encodable(given: str) -> bool:
    """True if UTF-8 can encode a text: it holds no half of a surrogate pair."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_of(values: Iterable[object]) -> Allowed:
    """One of a few texts.

    Args:
        values: Those that are allowed; members of a `StrEnum` are texts, too.
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
    """An object of a class."""
    return Allowed(words, lambda given: isinstance(given, kind))


def hook(words: str) -> Allowed:
    """A function, or another object that can be called; a class is none."""
    return Allowed(words, lambda given: callable(given) and not isinstance(given, type))


def methods(*names: str, words: str) -> Allowed:
    """An object with methods of those names; a class is none."""

    def holds(given: object) -> bool:
        if isinstance(given, type):
            return False
        return all(callable(_part(given, name)) for name in names)

    return Allowed(words, holds)


def _part(of: object, name: str) -> object:
    """An attribute, or None; looking one up may run code that raises."""
    try:
        found: object = getattr(of, name, None)
    except Exception:  # noqa: BLE001 - what cannot be looked at is not there
        return None
    return found


def shown(given: object, *, secret: bool = False) -> str:
    """A value as an error shows it: short, and never a credential.

    Only plain values are shown as they are. Of anything else the type is told: its
    `repr` is code of somebody else, and may be long, fail or tell a key.

    Args:
        given: The value.
        secret: It may be a credential where it is text.
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
