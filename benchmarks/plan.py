"""How much of everything a run measures."""

from typing import final

import attrs


@final
@attrs.frozen
class Plan:
    """The size of a run.

    Attributes:
        sizes: Messages of history that turns are timed at.
        rounds: How often each arm is prepared anew.
        turns: Turns of each arm that are timed in a round.
        crowd: Conversations that are held at once.
        crowd_sizes: Messages of history each of them begins with.
        crowd_rounds: How often the crowd is timed.
        crowd_turns: Turns each of them takes in a round.
        written_turns: Turns over which written bytes are counted.
        written_size: Messages of history they are counted at, beside none.
        resume_size: Messages of the conversation that is resumed.
        resume_rounds: Fresh processes that resume it.
        memory_size: Messages of each conversation that is held in memory.
        memory_count: How many are held.
        span_turns: Turns that are taken apart.
        steady_turns: Turns of the conversation in a small window.
        kit_bugs: Bugs of the sample agent that are looked for with the kit and by hand.
        plugin_pairs: How often pytest is started with its plugin and without.
        linear: Texts are long enough to tell work in proportion from work by pairs.
    """

    sizes: tuple[int, ...] = (0, 100, 1_000, 5_000)
    rounds: int = 4
    turns: int = 8
    crowd: int = 200
    crowd_sizes: tuple[int, ...] = (0, 100)
    crowd_rounds: int = 3
    crowd_turns: int = 5
    written_turns: int = 100
    written_size: int = 5_000
    resume_size: int = 5_000
    resume_rounds: int = 5
    memory_size: int = 1_000
    memory_count: int = 50
    span_turns: int = 100
    steady_turns: int = 400
    kit_bugs: int = 7
    plugin_pairs: int = 15
    linear: bool = True


FULL = Plan()

QUICK = Plan(
    sizes=(0, 100),
    rounds=2,
    turns=4,
    crowd_sizes=(0,),
    crowd_rounds=1,
    crowd_turns=3,
    written_turns=40,
    resume_rounds=2,
    memory_count=20,
    span_turns=40,
    steady_turns=120,
    kit_bugs=2,
    plugin_pairs=5,
)

SMOKE = Plan(
    sizes=(0,),
    rounds=1,
    turns=1,
    crowd=3,
    crowd_sizes=(0,),
    crowd_rounds=1,
    crowd_turns=1,
    written_turns=2,
    written_size=2,
    resume_size=2,
    resume_rounds=1,
    memory_size=2,
    memory_count=2,
    span_turns=2,
    steady_turns=24,
    kit_bugs=1,
    plugin_pairs=1,
    linear=False,
)
"""Every arm once, to see that it runs. Its numbers mean nothing."""
