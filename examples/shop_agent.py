"""A hand-written agent with switches for seven bugs, to try `turnlatch.testing` on.

`Agent` knows nothing of turnlatch: a loop over the bare SDK that keeps its history in a
file, asks a person before it refunds, and has to survive faults and kills. Without a bug
it does. docs/testing.md has the test that finds the bugs. Run it: no key is needed.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import anthropic
import httpx2

from turnlatch.simulator import call
from turnlatch.testing import MessagesApi

BUGS = {
    "doubled": "the message is appended again at each attempt",
    "twice": "calls without a result are run again after a restart",
    "forgotten": "a turn that fails after its calls is dropped with them",
    "poison": "a message that was refused stays in the history",
    "cut": "a stream that ends early counts as a reply",
    "orphan": "a tool that raises leaves its call without a result",
    "approval": "an approval can be used again",
}

TOOLS: list[Any] = [
    {
        "name": name,
        "description": f"{name.title()} an amount.",
        "input_schema": {
            "type": "object",
            "properties": {"amount": {"type": "integer"}},
            "required": ["amount"],
        },
    }
    for name in ("pay", "refund")
]
ASKED = "refund"
"""The tool that runs only when a person approves."""


class TurnLostError(Exception):
    """A turn failed; nothing of it stays but what its tools have done."""


class CutError(Exception):
    """A reply did not come to its end."""


class Agent:
    """One conversation in a folder, with its client and its tools."""

    def __init__(
        self,
        client: anthropic.Anthropic,
        folder: Path,
        tools: Mapping[str, Callable[..., str]],
        bugs: Collection[str] = (),
    ) -> None:
        self.client = client.with_options(max_retries=0, timeout=60.0)
        self.file = folder / "history.json"
        self.tools = tools
        self.bugs = bugs
        self.history: list[Any] = []
        self.started: list[str] = []
        if self.file.exists():
            self.history, self.started = json.loads(self.file.read_text("utf-8"))
            self._close_calls()

    def say(self, text: str) -> str:
        """Say something; returns the answer, or `approve?` if a person must decide."""
        if self._waiting():
            self._close_calls()
        before = list(self.history)
        # Not saved before it is answered: a restart must not begin with what was refused.
        self._append("user", {"type": "text", "text": text}, save=False)
        return self._turn(before)

    def approve(self) -> str:
        """Run the call that waits for a person."""
        waiting = self._waiting()
        if not waiting and "approval" in self.bugs:
            waiting = [one for one in self._calls() if one["name"] == ASKED]
            for one in waiting:
                self._run(one)
            return "approved again"
        if not waiting:
            return "nothing to approve"
        for one in waiting:
            self._append("user", self._run(one))
        return self._turn(list(self.history))

    def _turn(self, before: list[Any]) -> str:
        try:
            while True:
                reply = self._ask()
                self._append("assistant", *reply)
                calls = [one for one in reply if one["type"] == "tool_use"]
                if not calls:
                    return "".join(
                        one["text"] for one in reply if one["type"] == "text"
                    )
                if any(one["name"] == ASKED for one in calls):
                    return "approve?"
                results = [self._run(one) for one in calls]
                if any(results):
                    self._append("user", *[one for one in results if one])
                if "forgotten" not in self.bugs:
                    before = list(self.history)
        except TurnLostError:
            if "poison" not in self.bugs:
                self.history = before
                self._save()
            return ""

    def _run(self, call: Any) -> Any:
        self.started.append(call["id"])
        self._save()
        result = {"type": "tool_result", "tool_use_id": call["id"]}
        try:
            return {**result, "content": self.tools[call["name"]](**call["input"])}
        except Exception as error:  # noqa: BLE001 - the model is told what went wrong
            if "orphan" in self.bugs:
                return None
            return {**result, "content": f"Error: {error}", "is_error": True}

    def _ask(self) -> list[Any]:
        for attempt in range(4):
            try:
                return self._stream()
            except anthropic.APIStatusError as error:
                # An error in the middle of a stream comes with the status of the stream.
                if error.status_code in (400, 401, 403, 404, 413, 422):
                    raise TurnLostError from error
                hint = float(error.response.headers.get("retry-after", 0))
            except (CutError, anthropic.APIConnectionError, httpx2.HTTPError):
                hint = 0.0
            time.sleep(max(hint, 0.5 * 2**attempt))
            if "doubled" in self.bugs:
                self._append("user", *self.history[-1]["content"])
        raise TurnLostError

    def _stream(self) -> list[Any]:
        blocks: list[Any] = []
        written: dict[int, str] = {}
        whole = False
        for event in self.client.messages.create(
            model="claude-sonnet-5-5",
            max_tokens=1000,
            messages=self.history,
            tools=TOOLS,
            stream=True,
        ):
            if event.type == "content_block_start":
                blocks.append(event.content_block.to_dict())
            elif (
                event.type == "content_block_delta" and event.delta.type == "text_delta"
            ):
                blocks[event.index]["text"] += event.delta.text
            elif (
                event.type == "content_block_delta"
                and event.delta.type == "input_json_delta"
            ):
                so_far = written.get(event.index, "")
                written[event.index] = so_far + event.delta.partial_json
            whole = whole or event.type == "message_stop"
        if not whole and not ("cut" in self.bugs and blocks and blocks[0].get("text")):
            raise CutError
        for index, text in written.items():
            blocks[index]["input"] = json.loads(text or "{}")
        return blocks

    def _calls(self) -> list[Any]:
        """The calls of the history."""
        return [
            block
            for message in self.history
            if message["role"] == "assistant"
            for block in message["content"]
            if block["type"] == "tool_use"
        ]

    def _waiting(self) -> list[Any]:
        """The calls without a result."""
        answered = {
            block.get("tool_use_id")
            for message in self.history
            for block in message["content"]
        }
        return [one for one in self._calls() if one["id"] not in answered]

    def _close_calls(self) -> None:
        """Give calls that have no result one: they did not run, or nobody knows."""
        results: list[Any] = []
        for one in self._waiting():
            if "twice" in self.bugs:
                results.append(self._run(one))
                continue
            if "orphan" in self.bugs and one["id"] in self.started:
                continue
            known = "unknown outcome" if one["id"] in self.started else "not executed"
            made = {"type": "tool_result", "tool_use_id": one["id"], "content": known}
            results.append(made)
        if results:
            self._append("user", *results)

    def _append(self, role: str, *content: Any, save: bool = True) -> None:
        if self.history and self.history[-1]["role"] == role:
            last = self.history[-1]
            self.history[-1] = {**last, "content": [*last["content"], *content]}
        else:
            self.history.append({"role": role, "content": list(content)})
        if save:
            self._save()

    def _save(self) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps([self.history, self.started]), "utf-8")
        fresh.replace(self.file)


def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def refund(amount: int) -> str:
    """Refund."""
    return f"refunded {amount}"


def main() -> None:
    """One message, on the simulator."""
    with MessagesApi() as api, tempfile.TemporaryDirectory() as folder:
        api.answers(call("pay", amount=3), "It is paid.")
        tools = {"pay": pay, "refund": refund}
        agent = Agent(api.sync_client(), Path(folder), tools, sys.argv[1:])
        print(agent.say("Pay 3."))
        print(api.verdict())


if __name__ == "__main__":
    main()
