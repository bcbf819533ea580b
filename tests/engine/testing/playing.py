"""Making moves of a `ConversationMachine` by their words."""

from turnlatch.testing import ConversationMachine


def play(kind: type[ConversationMachine], *moves: str) -> None:
    """Make moves, each by the end of its words, and the end of the run."""
    one = kind()
    try:
        for move in moves:
            groups = zip(one.player.numbers(), one.player.moves(), strict=True)
            one.move(
                next(
                    number
                    for given, group in groups
                    for number, able in zip(given, group, strict=True)
                    if able.words.endswith(move)
                )
            )
    finally:
        one.teardown()
