"""One turn at a time: ours beside the three references, at every size."""

from pathlib import Path

from benchmarks.engine import Durable
from benchmarks.material import Case
from benchmarks.plan import Plan
from benchmarks.references import Arm, RawSocket, SdkBytes, SdkLoop, make_client
from benchmarks.report import Noise, Report, Row, Target
from benchmarks.server import InstantServer
from benchmarks.timing import interleaved

_ONE_REPLY = {0: 1.5, 1_000: 0.5, 5_000: 0.2}
_STREAMED = {0: 0.5, 1_000: 0.5}


async def measure(plan: Plan, server: InstantServer, folder: Path) -> Report:
    """Time every case at every size."""
    report = Report()
    raw = RawSocket(server.port, folder)
    for case in Case:
        targets = _STREAMED if case.streams else _ONE_REPLY
        # A client each: what an arm leaves in its pool is its own.
        clients = [make_client(server.url(case)) for _ in range(3)]
        ours = Durable(clients[0], folder)
        loop = SdkLoop(clients[1])
        kept = SdkBytes(clients[2])
        arms: list[Arm] = [ours, loop, kept, raw]
        for size in plan.sizes:
            found = await interleaved(
                arms, case, size, rounds=plan.rounds, turns=plan.turns
            )
            bound = targets.get(size)
            yardstick = found[loop.name].median
            # What the SDK's transport takes by itself: no target below it can be met.
            least = found[kept.name].median / yardstick
            row = Row(
                f"{case.words}, {size:,} messages",
                "ms",
                found[ours.name].median,
                yardstick,
                f"(a); (b) is {least:.2f}x",
                None if bound is None else Target(bound),
            )
            report += Report((row,), (Noise(f"{case.words} · {size:,}", found),))
        for client in clients:
            await client.close()
    return report
