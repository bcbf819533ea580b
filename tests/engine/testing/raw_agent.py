"""A light agent for `turnlatch break`: raw HTTP, state in a folder, bugs to switch on.

    python -S raw_agent.py FOLDER [BUG...]

It reads the message on standard input. It has the tool `pay`, and records that a call
starts before it starts it.
"""

import http.client
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BUGS = ("poison", "cut", "twice", "hang", "dead")
TOOL = {
    "name": "pay",
    "description": "Pay an amount.",
    "input_schema": {
        "type": "object",
        "properties": {"amount": {"type": "integer"}},
        "required": ["amount"],
    },
}
BACKOFF_SECONDS = 0.15
READ_SECONDS = 1.0


class BrokenReplyError(Exception):
    """A reply that did not come, or not whole; it may come later."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__(wait)
        self.wait = wait


class RefusedError(Exception):
    """The service refuses the request."""


class RawAgent:
    """One conversation in a folder."""

    def __init__(self, folder: Path, bugs: list[str]) -> None:
        self.file = folder / "history.json"
        self.bugs = bugs
        self.history: list[Any] = []
        self.started: list[str] = []
        if self.file.exists():
            self.history, self.started = json.loads(self.file.read_text("utf-8"))

    def say(self, text: str) -> None:
        """Answer a message."""
        self.close_calls()
        before = list(self.history)
        self.append("user", {"type": "text", "text": text})
        try:
            while calls := self.step():
                results = [self.run(one) for one in calls]
                self.append("user", *results)
                self.save()
                before = list(self.history)
        except (RefusedError, BrokenReplyError):
            if "poison" not in self.bugs:
                self.history = before
        self.save()

    def step(self) -> list[Any]:
        """Have one reply in the history; its calls."""
        reply = self.ask()
        self.append("assistant", *reply)
        self.save()
        return [one for one in reply if one["type"] == "tool_use"]

    def ask(self) -> list[Any]:
        """A reply, after as many attempts as it takes."""
        for attempt in range(4):
            try:
                return self.stream()
            except BrokenReplyError as broken:
                time.sleep(max(broken.wait, BACKOFF_SECONDS * 1.3**attempt))
        raise BrokenReplyError

    def stream(self) -> list[Any]:
        """One attempt."""
        url = urlsplit(os.environ["ANTHROPIC_BASE_URL"])
        seconds = None if "hang" in self.bugs else READ_SECONDS
        connection = http.client.HTTPConnection(
            str(url.hostname), url.port, timeout=seconds
        )
        body = {
            "model": "claude-opus-5",
            "max_tokens": 1000,
            "messages": self.history,
            "tools": [TOOL],
            "stream": True,
        }
        headers = {"x-api-key": "any", "anthropic-version": "2026-10-21"}
        lines: list[str] = []
        try:
            connection.request("POST", "/v1/messages", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status in (400, 413):
                raise RefusedError
            if response.status != 200:
                raise BrokenReplyError(float(response.headers.get("retry-after", 0)))
            while line := response.readline():
                lines.append(line.decode())
        except (OSError, http.client.HTTPException) as error:
            if "cut" not in self.bugs:
                raise BrokenReplyError from error
        finally:
            connection.close()
        return self.assembled(lines)

    def assembled(self, lines: list[str]) -> list[Any]:
        """The blocks of a stream."""
        blocks: list[Any] = []
        written = ""
        whole = False
        for line in lines:
            if not line.startswith("data:") or not line.endswith("\n"):
                continue
            data = json.loads(line[5:])
            if data["type"] == "content_block_start":
                blocks.append(data["content_block"])
            elif data["type"] == "content_block_delta":
                blocks[-1]["text"] = blocks[-1].get("text", "") + data["delta"].get(
                    "text", ""
                )
                written += data["delta"].get("partial_json", "")
            elif data["type"] == "content_block_stop" and written:
                blocks[-1] = {**blocks[-1], "input": json.loads(written)}
                blocks[-1].pop("text", None)
                written = ""
            whole = whole or data["type"] == "message_stop"
        if not whole and not ("cut" in self.bugs and blocks and blocks[0].get("text")):
            raise BrokenReplyError
        return blocks

    def run(self, call: Any) -> Any:
        """Run a call; its result."""
        self.started.append(call["id"])
        self.save()
        result = {"type": "tool_result", "tool_use_id": call["id"]}
        if "TURNLATCH_EFFECTS" not in os.environ:
            return {**result, "content": "paid"}
        # Imported here: a run that pays nothing does not wait for it.
        from turnlatch.testing.effects import Effects

        def pay(amount: int) -> str:
            return f"paid {amount}"

        paid = Effects.from_environment().watched(pay)(**call["input"])
        return {**result, "content": paid}

    def close_calls(self) -> None:
        """Give calls that a killed process has left a result."""
        if not self.history or self.history[-1]["role"] == "user":
            return
        last = self.history[-1]
        calls = [one for one in last["content"] if one["type"] == "tool_use"]
        results = [
            self.run(one)
            if "twice" in self.bugs
            else {
                "type": "tool_result",
                "tool_use_id": one["id"],
                "content": "unknown" if one["id"] in self.started else "not executed",
            }
            for one in calls
        ]
        if results:
            self.append("user", *results)
            self.save()

    def append(self, role: str, *content: Any) -> None:
        """Append to the history."""
        if self.history and self.history[-1]["role"] == role:
            last = self.history[-1]
            content = (*last["content"], *content)
            self.history.pop()
        self.history.append({"role": role, "content": list(content)})

    def save(self) -> None:
        """Write the history, at once."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps([self.history, self.started]), "utf-8")
        fresh.replace(self.file)


def main() -> None:
    """One message."""
    folder, *bugs = sys.argv[1:]
    agent = RawAgent(Path(folder), bugs)
    if "dead" in bugs and agent.file.exists():
        sys.exit("the state cannot be read")
    agent.say(sys.stdin.read())


if __name__ == "__main__":
    main()
