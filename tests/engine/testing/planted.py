"""Clients with one defect each, and one without any, for the verdict on them.

Each is a chat loop of the size that people write by hand. `Client` does everything right;
a planted one overrides the one thing that it does wrong.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2

from turnlatch.simulator.transport import SyncSimulatorTransport
from turnlatch.testing import Effects, MessagesApi
from turnlatch.testing.observed import _assembled  # pyright: ignore[reportPrivateUsage] - reads a stream as a client does

PASSING: Final = {408, 409, 429, 500, 502, 503, 529}
READ_SECONDS: Final = 60.0


class Failed(Exception):
    """An attempt failed."""

    def __init__(self, status: int, part: str = "", hint: float = 0.0) -> None:
        super().__init__(status, part)
        self.status, self.part, self.hint = status, part, hint


class Client:
    """A chat loop without a defect."""

    attempts_max = 4
    read_seconds: float | None = READ_SECONDS

    def __init__(self, api: MessagesApi, effects: Effects | None = None) -> None:
        self.api = api
        self.history: list[dict[str, Any]] = []
        self.ids: list[str] = []
        transport = SyncSimulatorTransport(api.simulator, sleep=api.clock.skip)
        timeout = httpx2.Timeout(5.0, read=self.read_seconds)
        self.http = httpx2.Client(transport=transport, timeout=timeout)
        watched = effects or Effects()
        self.pay = watched.watched(pay)

    def body(self) -> dict[str, Any]:
        """The request for the history as it is."""
        messages = [*self.history[:-1], marked(self.history[-1])]
        return {
            "model": "claude-sonnet-5-5",
            "max_tokens": 100,
            "stream": True,
            "tools": [TOOL],
            "messages": messages,
        }

    def say(self, text: str) -> str:
        """Say something; returns the answer, or nothing if the turn failed."""
        before = list(self.history)
        self.history.append(
            {"role": "user", "content": [{"type": "text", "text": text}]}
        )
        try:
            return self.work()
        except Failed:
            self.history = before
            return ""

    def work(self) -> str:
        """Ask until the model calls nothing more."""
        while True:
            content = self.ask()
            self.history.append({"role": "assistant", "content": content})
            calls = [one for one in content if one["type"] == "tool_use"]
            if not calls:
                return "".join(one.get("text", "") for one in content)
            self.history.append({"role": "user", "content": self.run_all(calls)})

    def run_all(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Run the calls of a reply."""
        return [self.run(one) for one in calls]

    def run(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Run a call."""
        return result(call, self.pay(**call["input"]))

    def ask(self) -> list[dict[str, Any]]:
        """Send the request until it is answered."""
        attempt = 0
        while True:
            try:
                return self.attempt(self.body())
            except Failed as failed:
                attempt += 1
                if failed.status not in PASSING or attempt == self.attempts_max:
                    raise
                self.failed(failed)
                self.wait(attempt, failed)

    def failed(self, failed: Failed) -> None:
        """An attempt failed and will be made again."""

    def wait(self, attempt: int, failed: Failed) -> None:
        """Wait before the next attempt."""
        self.api.clock.skip(max(failed.hint, 0.25 * 2**attempt))

    def attempt(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Send one request; returns the blocks of the reply."""
        read = b""
        headers = {"x-api-key": "test", "anthropic-version": "2023-06-01"}
        url = "http://simulator.invalid/v1/messages"
        try:
            with self.http.stream("POST", url, json=body, headers=headers) as response:
                if response.status_code != 200:
                    hint = float(response.headers.get("retry-after", 0))
                    raise Failed(response.status_code, hint=hint)
                for piece in response.iter_bytes():
                    read += piece
        except httpx2.HTTPError as error:
            return self.broken(read, error)
        blocks, whole = _assembled(read)
        if not whole:
            return self.broken(read, None)
        started = json.loads(read.split(b"data: ", 1)[1].split(b"\n", 1)[0])
        self.ids.append(started["message"]["id"])
        return [dict(one) for one in blocks]

    def broken(self, read: bytes, error: Exception | None) -> list[dict[str, Any]]:
        """The answer broke off."""
        part = "".join(str(one.get("text", "")) for one in _assembled(read)[0])
        raise Failed(503, part) from error


def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


TOOL: Final[dict[str, Any]] = {
    "name": "pay",
    "description": "Pay.",
    "input_schema": {
        "type": "object",
        "properties": {"amount": {"type": "integer"}},
        "required": ["amount"],
    },
}


def result(call: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The result of a call."""
    return {"type": "tool_result", "tool_use_id": call["id"], "content": text}


def marked(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose end is marked for the prompt cache."""
    *first, last = message["content"]
    return {
        **message,
        "content": [*first, {**last, "cache_control": {"type": "ephemeral"}}],
    }


# Each with one defect.


class Illegal(Client):
    """It says nothing, in an empty text block."""

    def say(self, text: str) -> str:
        return super().say("" if text == "Two." else text)


class TakesCutReplies(Client):
    """It shows what arrived of a reply, and goes on."""

    def broken(self, read: bytes, error: Exception | None) -> list[dict[str, Any]]:
        return [dict(one) for one in _assembled(read)[0]]


class IgnoresHints(Client):
    """Its waits are its own."""

    def wait(self, attempt: int, failed: Failed) -> None:
        self.api.clock.skip(0.25 * 2**attempt)


class RetriesEverything(Client):
    """It retries a 400, too."""

    def ask(self) -> list[dict[str, Any]]:
        try:
            return super().ask()
        except Failed:
            self.api.clock.skip(1.0)
            return super().ask()


class Storms(Client):
    """It retries for as long as it takes."""

    attempts_max = 100

    def wait(self, attempt: int, failed: Failed) -> None:
        self.api.clock.skip(1.0)


class NeverPauses(Client):
    """It retries at once."""

    def wait(self, attempt: int, failed: Failed) -> None:
        pass


class GivesUp(Client):
    """It never retries."""

    attempts_max = 1


class WaitsForEver(Client):
    """It has no read timeout."""

    read_seconds = None


class AppendsInItsRetryLoop(Client):
    """It appends the message again at each attempt."""

    def failed(self, failed: Failed) -> None:
        self.history[-1]["content"] *= 2


class ShowsTwice(Client):
    """It keeps what arrived, and puts the whole reply behind it."""

    part = ""

    def failed(self, failed: Failed) -> None:
        self.part += failed.part

    def ask(self) -> list[dict[str, Any]]:
        content = super().ask()
        if content[0]["type"] == "text":
            content[0]["text"] = self.part + content[0]["text"]
        self.part = ""
        return content


class PaysAgain(Client):
    """It runs the calls of the last reply again when the request after them fails."""

    def failed(self, failed: Failed) -> None:
        for one in self.history[-1]["content"]:
            if one["type"] == "tool_result":
                self.pay(3)


class ForgetsCalls(Client):
    """When a turn fails it drops the whole turn, calls and all."""

    attempts_max = 2


class SwapsResults(Client):
    """It takes the ids of parallel calls in the order in which the calls end."""

    def run_all(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        ended = [one["content"] for one in super().run_all(calls)[::-1]]
        return [result(call, text) for call, text in zip(calls, ended, strict=True)]


class KeepsParts(Client):
    """It keeps what arrived of a failed attempt, in place of the reply."""

    part = ""

    def failed(self, failed: Failed) -> None:
        self.part = self.part or failed.part

    def ask(self) -> list[dict[str, Any]]:
        content = super().ask()
        part, self.part = self.part, ""
        return [{"type": "text", "text": part}] if part else content


class KeepsPoison(Client):
    """A message that was refused stays in its history."""

    def say(self, text: str) -> str:
        self.history.append(
            {"role": "user", "content": [{"type": "text", "text": text}]}
        )
        try:
            return self.work()
        except Failed:
            return ""


class NamesLostReplies(Client):
    """It names a message by the first id that it reads."""

    lost = ""

    def broken(self, read: bytes, error: Exception | None) -> list[dict[str, Any]]:
        started = json.loads(read.split(b"data: ", 1)[1].split(b"\n", 1)[0])
        self.lost = started["message"]["id"]
        return super().broken(read, error)

    def attempt(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if self.lost:
            body["diagnostics"] = {"previous_message_id": self.lost}
        return super().attempt(body)


class RewritesHistory(Client):
    """It shortens what was said before."""

    def say(self, text: str) -> str:
        if self.history:
            self.history[0]["content"] = [{"type": "text", "text": "(shortened)"}]
        return super().say(text)
