"""The Messages API of a test: where it is, what it counts, and what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import anthropic
import pytest
from anthropic.types import MessageParam

from turnlatch.simulator import FaultScriptError
from turnlatch.testing import FaultsNotMetError, MessagesApi

MODEL = "claude-sonnet-5-5"
MESSAGE: MessageParam = {"role": "user", "content": "Hello."}


def test_sdk_of_a_subprocess_finds_it_by_the_environment(
    messages_api: MessagesApi,
) -> None:
    messages_api.answers("I am the simulator.")
    messages_api.faults("529 @1")
    assert messages_api.base_url.startswith("http://127.0.0.1:")
    program = (
        "import anthropic; print(anthropic.Anthropic().messages.create(max_tokens=9,"
        " model='claude-sonnet-5-5', messages=[{'role': 'user', 'content': 'Hi.'}])"
        ".content[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "I am the simulator.\n"
    messages_api.all_faults_fired()
    assert messages_api.verdict().ok, str(messages_api.verdict())


def test_environment_is_as_it_was_when_it_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://before.invalid")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with MessagesApi() as api:
        base_url = api.base_url
        assert os.environ["ANTHROPIC_BASE_URL"] == base_url
    assert os.environ["ANTHROPIC_BASE_URL"] == "http://before.invalid"
    assert "ANTHROPIC_API_KEY" not in os.environ


def test_clients_in_the_process_wait_no_time_for_the_script(
    messages_api: MessagesApi,
) -> None:
    messages_api.faults("slow headers 500s")
    before = messages_api.clock.now()
    client = messages_api.sync_client()
    client.messages.create(max_tokens=9, model=MODEL, messages=[MESSAGE], timeout=900)
    assert messages_api.clock.now() - before > 500


def test_fault_that_did_not_happen_is_named(messages_api: MessagesApi) -> None:
    messages_api.faults("529 @1, 429 @2-3")
    client = messages_api.sync_client().with_options(max_retries=0)
    for _ in range(2):
        with pytest.raises(anthropic.APIStatusError):
            client.messages.create(max_tokens=9, model=MODEL, messages=[MESSAGE])
    with pytest.raises(
        FaultsNotMetError, match=r"429 @2-3 \(happened 1 times\)"
    ) as told:
        messages_api.all_faults_fired()
    assert "529" not in str(told.value)


def test_fault_whose_time_has_gone_by_is_named_even_if_others_were_added(
    messages_api: MessagesApi,
) -> None:
    messages_api.faults("cut 2 eof @1 on stream")  # the request is not a stream
    messages_api.sync_client().messages.create(
        max_tokens=9, model=MODEL, messages=[MESSAGE]
    )
    messages_api.faults("529 @9")
    with pytest.raises(FaultsNotMetError, match="cut 2 eof"):
        messages_api.all_faults_fired()


def test_client_that_sends_nothing_is_led_to_the_server(
    messages_api: MessagesApi,
) -> None:
    messages_api.faults("529")
    with pytest.raises(FaultsNotMetError, match="or let it use base_url"):
        messages_api.all_faults_fired()


def test_wrong_fault_is_refused_with_what_there_is(messages_api: MessagesApi) -> None:
    with pytest.raises(FaultScriptError, match="reset"):
        messages_api.faults("explode @1")


def test_plugin_costs_next_to_nothing_until_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n", "utf-8")
    program = (
        "import sys, pytest; pytest.main(['-q', '-p', 'no:cacheprovider', 'test_a.py']);"
        " print(sorted(m for m in sys.modules if m.startswith('turnlatch')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1] == "['turnlatch_pytest']"
