"""A verdict names what a client did wrong, and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.testing import planted

from turnlatch import Conversation, tool
from turnlatch.simulator import call, reply
from turnlatch.testing import (
    DEFECTS,
    DefectKind,
    Effects,
    EffectsError,
    MessagesApi,
    SeededIds,
    Verdict,
)

SCRIPTS: dict[DefectKind, tuple[type[planted.Client], str]] = {
    DefectKind.ILLEGAL_REQUEST: (planted.Illegal, ""),
    DefectKind.TRUNCATED_REPLY_ACCEPTED: (planted.TakesCutReplies, "cut 5 eof @2"),
    DefectKind.RETRY_AFTER_IGNORED: (planted.IgnoresHints, "429 retry-after=20 @2"),
    DefectKind.RETRIED_DEFINITE_REFUSAL: (planted.RetriesEverything, "400 @2-3"),
    DefectKind.RETRY_STORM: (planted.Storms, "529 @2-25"),
    DefectKind.NO_BACKOFF: (planted.NeverPauses, "529 @2-3"),
    DefectKind.GAVE_UP: (planted.GivesUp, "529 @2"),
    DefectKind.NO_READ_TIMEOUT: (planted.WaitsForEver, "cut 4 stall @2"),
    DefectKind.TEXT_DOUBLED: (planted.AppendsInItsRetryLoop, "429 @2"),
    DefectKind.EFFECT_REPEATED: (planted.PaysAgain, "529 @4"),
    DefectKind.EFFECT_FORGOTTEN: (planted.ForgetsCalls, "529 @4-5"),
    DefectKind.RESULT_SWAPPED: (planted.SwapsResults, ""),
    DefectKind.PARTIAL_COMMITTED: (planted.KeepsParts, "cut 5 eof @2"),
    DefectKind.POISON_RESENT: (planted.KeepsPoison, "400 body=poison forever"),
    DefectKind.UNCONFIRMED_ID_USED: (planted.NamesLostReplies, "cut 5 reset @2"),
    DefectKind.CACHE_PREFIX_BROKEN: (planted.RewritesHistory, ""),
}
"""The client that earns each defect, and the faults that bring it out."""

REPLY = "It is a reply of some length, so that it comes in several pieces, as most do."

PAYS_TWICE = reply(call("pay", amount=3), call("pay", amount=4))
"""An answer with two parallel calls."""


def converse(kind: type[planted.Client], faults: str, file: Path) -> Verdict:
    """Five messages, one of them with two calls; returns the verdict."""
    with MessagesApi() as api:
        effects = Effects(file)
        api.watch_effects(effects)
        api.answers(REPLY, f"{REPLY} Two.", PAYS_TWICE, "Paid.")
        api.answers(f"{REPLY} Four.", f"{REPLY} Five.")
        if faults:
            api.faults(faults)
        client = kind(api, effects)
        for text in ("One.", "Two.", "Pay 3.", "poison", "Five."):
            client.say(text)
        return api.verdict()


@pytest.mark.parametrize("kind", DefectKind)
def test_each_planted_client_earns_exactly_its_defect(
    kind: DefectKind, tmp_path: Path
) -> None:
    client, faults = SCRIPTS[kind]
    verdict = converse(client, faults, tmp_path / "effects")
    assert verdict.kinds == {kind}, str(verdict)


@pytest.mark.parametrize("kind", DefectKind)
def test_a_client_without_a_defect_earns_none(kind: DefectKind, tmp_path: Path) -> None:
    _, faults = SCRIPTS[kind]
    faults = faults.replace("@2-25", "@2-4").replace("@4-5", "@4")
    verdict = converse(planted.Client, faults, tmp_path / "effects")
    assert verdict.ok, str(verdict)


def test_a_reply_put_behind_its_own_part_is_doubled_text(tmp_path: Path) -> None:
    verdict = converse(planted.ShowsTwice, "cut 5 eof @2", tmp_path / "effects")
    assert verdict.kinds == {DefectKind.TEXT_DOUBLED}, str(verdict)


def test_the_table_has_a_row_for_every_defect() -> None:
    assert list(DEFECTS) == list(DefectKind)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", DefectKind)
async def test_our_own_engine_earns_no_defect(kind: DefectKind, tmp_path: Path) -> None:
    _, faults = SCRIPTS[kind]
    with MessagesApi() as api:
        effects = Effects(tmp_path / "effects")
        api.watch_effects(effects)
        api.answers(REPLY, f"{REPLY} Two.", PAYS_TWICE, "Paid.")
        if faults:
            api.faults(faults)
        pay = tool(effect="once")(effects.watched(planted.pay))
        async with Conversation.open(
            "a",
            store=tmp_path / "chat.db",
            client=api.client(),
            clock=api.clock,
            ids=SeededIds(),
            tools=[pay],
        ) as chat:
            for text in ("One.", "Two.", "Pay 3.", "poison", "Five."):
                await chat.send(text)
        verdict = api.verdict()
    assert verdict.ok, str(verdict)
    if kind is not DefectKind.EFFECT_FORGOTTEN:
        effects.at_most_once("pay", amount=3)
        effects.at_most_once("pay", amount=4)


def test_the_documentation_prints_the_table_of_defects() -> None:
    page = (Path(__file__).parents[3] / "docs" / "testing.md").read_text("utf-8")
    rows = [f"| `{kind}` | {row.means} | {row.mend} |" for kind, row in DEFECTS.items()]
    assert "\n".join(rows) in page


class Denies(planted.Client):
    """It says that nothing was done, whatever happened."""

    def run(self, call: Mapping[str, Any]) -> dict[str, Any]:
        super().run(call)
        return planted.result(call, "Not executed.")


class Pretends(planted.Client):
    """It says that it is paid, and never pays."""

    def run(self, call: Mapping[str, Any]) -> dict[str, Any]:
        return planted.result(call, "paid 3")


class LeavesOpen(planted.Client):
    """It says that nobody knows."""

    def run(self, call: Mapping[str, Any]) -> dict[str, Any]:
        super().run(call)
        return planted.result(
            call, "The outcome is unknown; it was not executed twice."
        )


@pytest.mark.parametrize(
    ("kind", "untrue"),
    [
        (planted.Client, ""),
        (LeavesOpen, ""),
        (Denies, "was done, and the model reads: 'Not executed.'"),
        (Pretends, "never ran, and the model reads: 'paid 3'"),
    ],
)
def test_results_are_held_to_the_ledger(
    kind: type[planted.Client], untrue: str
) -> None:
    with MessagesApi() as api:
        effects = Effects()
        api.watch_effects(effects)
        api.answers(call("pay", amount=3), "Paid.", call("pay", amount=4), "Paid.")
        client = kind(api, effects)
        planted.Client(api, effects).say("Pay 3.")
        client.say("Pay 4.")
        if not untrue:
            return api.told_truthfully()
        with pytest.raises(EffectsError, match=untrue):
            api.told_truthfully()


class WritesItsOwnWords(planted.SwapsResults):
    """It says of each call what is true of both."""

    def run_all(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        super().run_all(calls)
        return [planted.result(one, "paid 4") for one in calls]


def thanks(amount: int) -> str:
    """Pay, and say nothing of the amount."""
    return "thanks"


@pytest.mark.parametrize(
    ("kind", "tool", "calls", "swapped"),
    [
        (planted.SwapsResults, planted.pay, (3, 4), True),
        (planted.SwapsResults, planted.pay, (3, 3), False),
        (planted.SwapsResults, planted.pay, (3, 4, 5), True),
        (planted.SwapsResults, thanks, (3, 4), False),
        (WritesItsOwnWords, planted.pay, (3, 4), False),
        (planted.Client, planted.pay, (3, 4, 5), False),
    ],
)
def test_results_are_swapped_only_where_the_ledger_is_sure(
    kind: type[planted.Client],
    tool: Any,
    calls: Sequence[int],
    swapped: bool,
) -> None:
    with MessagesApi() as api:
        effects = Effects()
        api.watch_effects(effects)
        api.answers(reply(*(call("pay", amount=one) for one in calls)), "Paid.")
        client = kind(api, effects)
        client.pay = effects.watched(tool, "pay")
        client.say("Pay.")
        verdict = api.verdict()
        assert (DefectKind.RESULT_SWAPPED in verdict.kinds) is swapped, str(verdict)
        if swapped:
            with pytest.raises(EffectsError, match="under each other's ids"):
                api.told_truthfully()
        else:
            api.told_truthfully()


def test_stale_answer_is_not_a_swapped_one() -> None:
    with MessagesApi() as api:
        effects = Effects()
        api.watch_effects(effects)
        api.answers(reply(call("pay", amount=3), call("pay", amount=4)), "Paid.")
        client = planted.Client(api, effects)
        effects.fail("pay", "stale", 2)
        client.say("Pay.")
        assert api.verdict().ok, str(api.verdict())


def test_client_that_sent_nothing_is_not_judged() -> None:
    with MessagesApi() as api:
        assert not api.verdict().ok
        assert api.verdict().defects == ()
        assert "No request arrived: let the client use" in str(api.verdict())
