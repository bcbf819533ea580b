"""The catalogue of `make clients`: what it needs no network to be held to."""

import re
from random import Random

import pytest
from tests.clients.__main__ import PROGRAMS, SUM, script
from tests.clients.catalogue import CELLS, CLIENTS, Client

from turnlatch.simulator import Answer, ClientCall, Text


def test_catalogue_has_twelve_clients_with_one_program_each() -> None:
    assert len({client.name for client in CLIENTS}) == len(CLIENTS) == 12
    programs = {path.name for path in PROGRAMS.iterdir() if path.is_file()}
    assert programs == {client.program for client in CLIENTS}
    assert set(CELLS) == {"turn", "stream", "tool", "429"}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_package_is_pinned(client: Client) -> None:
    pin = r".+@\d+\.\d+\.\d+" if client.node else r"[a-z-]+(\[\w+\])?==\d+(\.\d+)+"
    assert all(re.fullmatch(pin, package) for package in client.packages)
    assert re.fullmatch(r"\d+(\.\d+)+", client.version)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_sum_is_given_only_with_the_tool_result(client: Client) -> None:
    """So a program that prints it has run its tool, and sent back what came of it."""
    answers = script(client, "tool")
    tools = [{"name": client.tool, "input_schema": {"type": "object"}}]

    def said(words: str) -> Answer:
        messages = [{"role": "user", "content": words}]
        return answers.answer({"messages": messages, "tools": tools}, Random(0))

    assert said("Add 3 and 4.").parts == (ClientCall(client.tool, dict(client.input)),)
    assert Text(SUM) not in said("What came of it?").parts
    assert said("It is 7").parts == (Text(SUM),)
