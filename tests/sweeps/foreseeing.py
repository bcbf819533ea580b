"""`tests.sweeps.signalled`, with a planted bug: an append that knows the journal's own
errors only, and takes what it was about to save for unsaved after any other."""

from typing import Any, Final

from tests.sweeps import signalled

from turnlatch import JournalError
from turnlatch.runtime.loop import Driver

_FLUSH: Final = Driver._flush  # pyright: ignore[reportPrivateUsage]


async def flush(self: Any) -> None:
    """As it was once."""
    held = self._kept
    try:
        await _FLUSH(self)
    except JournalError:
        raise
    except BaseException:
        self._kept = held
        raise


def plant() -> None:
    """Put the bug into this process."""
    patient: Any = Driver
    patient._flush = flush


if __name__ == "__main__":
    plant()
    signalled.main()
