"""The core: what it refuses before the rules, what it logs, and that it is repeatable."""

import json
import subprocess
import sys
from typing import Any, get_args

import pytest
from anthropic.types import AnthropicBetaParam
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.errors import SettingsError
from turnlatch.simulator import (
    ApiLimits,
    ApiRequest,
    ApiResponse,
    Scripted,
    Seeded,
    Simulator,
    call,
    reply,
    text,
)
from turnlatch_states.api.betas import KNOWN_BETAS
from turnlatch_states.api.models import MODELS

AUTH = ("authorization", "Bearer k")
VERSION = ("anthropic-version", "2026-10-21")
BODY: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}

TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]


def post(
    simulator: Simulator,
    body: Any = BODY,
    *headers: tuple[str, str],
    path: str = "/v1/messages",
    bare: bool = False,
) -> ApiResponse:
    """One request, and its end."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = headers if bare else (AUTH, VERSION, *headers)
    response = simulator.handle(ApiRequest("POST", path, tuple(lines), data))
    simulator.finish(response)
    return response


def get(simulator: Simulator, path: str) -> ApiResponse:
    return simulator.handle(ApiRequest("GET", path, (AUTH, VERSION)))


def error(response: ApiResponse) -> tuple[int, str, str]:
    """Status, type and message of an error, whose envelope is checked."""
    body = json.loads(response.body)
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.header("request-id")
    return response.status, body["error"]["type"], body["error"]["message"]


def test_a_reply_has_every_member_of_a_message() -> None:
    response = post(Simulator(Scripted(["Hi."])))

    message = json.loads(response.body)
    assert response.status == 200
    assert message["id"].startswith("msg_sim_01")  # it says that it is made up
    assert message["content"] == [{"type": "text", "text": "Hi."}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert message["usage"]["input_tokens"] == 6
    assert message["usage"]["output_tokens"] == 1
    assert message["usage"]["cache_creation"]["ephemeral_5m_input_tokens"] == 0
    assert (response.header("request-id") or "").startswith("req_01")
    assert response.header("anthropic-ratelimit-requests-remaining") == "3999"
    assert response.header("anthropic-organization-id")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ([VERSION], 401, "x-api-key header is required"),
        ([("authorization", "Bearer "), VERSION], 401, "Invalid bearer token"),
        ([("x-api-key", ""), VERSION], 401, "invalid x-api-key"),
        ([AUTH], 400, "anthropic-version: header is required"),
        ([AUTH, ("anthropic-version", "now")], 400, 'anthropic-version: "now" is not'),
        (
            [AUTH, VERSION, ("anthropic-beta", "threads-2020-01-01")],
            400,
            "Unexpected value(s) `threads-2020-01-01` for the `anthropic-beta` header.",
        ),
    ],
)
def test_bad_headers_are_refused(
    headers: list[tuple[str, str]], status: int, message: str
) -> None:
    found = error(post(Simulator(), BODY, *headers, bare=True))

    assert found[0] == status
    assert message in found[2]


def test_either_credential_will_do_and_x_api_key_goes_first() -> None:
    simulator = Simulator(keys={"right"})
    right, wrong = ("x-api-key", "right"), ("x-api-key", "wrong")
    bearer = ("authorization", "Bearer right")

    assert post(simulator, BODY, right, VERSION, bare=True).status == 200
    assert post(simulator, BODY, bearer, VERSION, bare=True).status == 200
    assert post(simulator, BODY, bearer, wrong, VERSION, bare=True).status == 401


def test_unknown_beta_is_accepted_and_noted_unless_the_list_is_strict() -> None:
    new = ("anthropic-beta", "tomorrow-2027-01-01")
    lenient, strict = Simulator(), Simulator(strict_betas=True)

    assert post(lenient, BODY, AUTH, VERSION, new, bare=True).status == 200
    assert "note: unknown beta tomorrow-2027-01-01" in lenient.log[0].line
    assert error(post(strict, BODY, AUTH, VERSION, new, bare=True))[0] == 400
    assert "Unexpected value(s)" in strict.log[0].line


def test_a_version_has_the_fields_that_it_has() -> None:
    cool = {**BODY, "model": "claude-sonnet-4-6", "temperature": 0.2}
    simulator = Simulator()
    for version, status in (("2023-06-01", 200), ("2026-10-21", 400)):
        header = ("anthropic-version", version)
        assert post(simulator, cool, AUTH, header, bare=True).status == status


def test_count_of_a_guarded_client_is_answered() -> None:
    body: dict[str, Any] = {
        "model": "claude-opus-5",
        "messages": BODY["messages"],
        "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {}}],
    }
    beta = ("anthropic-beta", "dangerous-tool-use-2026-09-03")
    path = "/v1/messages/count_tokens"

    assert (
        post(Simulator(), body, AUTH, VERSION, beta, path=path, bare=True).status == 200
    )


def test_the_betas_of_the_sdk_are_known() -> None:
    literal = next(part for part in get_args(AnthropicBetaParam) if get_args(part))

    assert set(get_args(literal)) <= KNOWN_BETAS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff{}",
        b'{"a": NaN}',
        b'{"a": "\\ud83d"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
    ],
    ids=["empty", "open", "no UTF-8", "NaN", "half a pair", "BOM", "deep"],
)
def test_body_that_is_not_json_is_refused_as_such(data: bytes) -> None:
    status, kind, message = error(post(Simulator(), data))

    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("The request body is not valid JSON: ")


def test_a_whole_pair_of_surrogates_is_fine() -> None:
    body = json.dumps({**BODY, "messages": [{"role": "user", "content": "\U0001f600"}]})
    assert "\\ud83d" in body

    assert post(Simulator(), body.encode()).status == 200


def test_a_body_that_is_too_long_is_refused_at_the_edge() -> None:
    simulator = Simulator(limits=ApiLimits(request_bytes_max=500))
    long = {**BODY, "messages": [{"role": "user", "content": "x" * 500}]}

    # Before the credential is looked at, and the body may have been announced only.
    assert error(post(simulator, long, bare=True))[:2] == (413, "request_too_large")
    head = ApiRequest("POST", "/v1/messages", (), b"", body_bytes=501)
    assert simulator.handle(head).status == 413
    assert post(simulator).status == 200


def test_unknown_paths_and_methods_are_refused_and_a_prefix_is_not() -> None:
    simulator = Simulator()

    assert error(post(simulator, path="/v1/nothing"))[:2] == (404, "not_found_error")
    assert post(simulator, path="/v1/messages/batches").status == 404
    assert get(simulator, "/v1/messages").status == 405
    assert post(simulator, path="/a/b/v1/messages?beta=true").status == 200


def test_an_unknown_model_does_not_exist() -> None:
    strange = {**BODY, "model": "claude-not-a-real-model"}

    found = error(post(Simulator(), strange))
    assert found == (404, "not_found_error", "model: claude-not-a-real-model")
    assert post(Simulator(any_model=True), strange).status == 200


def test_the_models_are_listed_in_pages_and_one_by_one() -> None:
    simulator = Simulator()

    names: list[str] = []
    path = "/v1/models?limit=7"
    while True:
        page = json.loads(get(simulator, path).body)
        names += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        path = f"/v1/models?limit=7&after_id={page['last_id']}"
    assert names == [model.name for model in MODELS]
    one = json.loads(get(simulator, "/v1/models/claude-haiku-4-5-20251001").body)
    assert (one["id"], one["max_input_tokens"]) == (
        "claude-haiku-4-5-20251001",
        200_000,
    )
    assert error(get(simulator, "/v1/models/gpt"))[0] == 404


def test_tokens_are_counted_as_documented_and_by_the_same_rules() -> None:
    simulator = Simulator()
    path = "/v1/messages/count_tokens"
    body = {name: BODY[name] for name in ("model", "messages")}

    assert json.loads(post(simulator, body, path=path).body) == {"input_tokens": 6}
    assert "max_tokens: Extra inputs" in error(post(simulator, BODY, path=path))[2]
    empty: Any = {**body, "messages": []}
    assert "at least one message" in error(post(simulator, empty, path=path))[2]


def test_limits_of_length_are_the_models() -> None:
    simulator = Simulator(limits=ApiLimits(context_window=10, output_max=50))

    assert "max_tokens: 100 > 50" in error(post(simulator))[2]
    long = {
        **BODY,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x" * 99}],
    }
    assert error(post(simulator, long))[2] == (
        "prompt is too long: 29 tokens > 10 maximum"
    )


def test_an_answer_is_cut_at_the_first_limit_it_meets() -> None:
    long = text("one two three four. five six seven eight.")

    def stop(**fields: Any) -> tuple[Any, Any, Any]:
        message = json.loads(post(Simulator(Scripted([long])), {**BODY, **fields}).body)
        block = message["content"][0]["text"] if message["content"] else None
        return message["stop_reason"], message["stop_sequence"], block

    assert stop(max_tokens=11)[0] == "end_turn"
    assert stop(max_tokens=10)[0] == "max_tokens"
    assert stop(max_tokens=2) == ("max_tokens", None, "one two ")
    assert stop(max_tokens=0) == ("max_tokens", None, None)
    assert stop(stop_sequences=["three"])[:2] == ("stop_sequence", "three")
    window = Simulator(Scripted([long]), limits=ApiLimits(context_window=8))
    message = json.loads(post(window).body)
    assert message["stop_reason"] == "model_context_window_exceeded"


def test_a_call_that_is_cut_has_whole_members_only() -> None:
    answer = call("write", path="notes.txt", content="x" * 400)

    body = {**BODY, "max_tokens": 20}
    message = json.loads(post(Simulator(Scripted([answer])), body).body)

    assert message["stop_reason"] == "max_tokens"
    assert message["content"][0]["input"] == {"path": "notes.txt"}


def test_a_script_that_is_used_up_says_so() -> None:
    simulator = Simulator(Scripted(["one"]))
    post(simulator)

    status, kind, message = error(post(simulator))

    assert (status, kind) == (500, "api_error")
    assert "all of them were given" in message
    assert len(simulator.unscripted_rejections()) == 1
    assert post(Simulator(Scripted([], then=Seeded()))).status == 200


def test_diagnostics_tell_what_changed() -> None:
    simulator = Simulator(Scripted(["a"] * 9))

    def ask(previous: str | None, **fields: Any) -> tuple[str, Any]:
        body = {**BODY, **fields, "diagnostics": {"previous_message_id": previous}}
        message = json.loads(post(simulator, body).body)
        return message["id"], message["diagnostics"]

    first, nothing = ask(None, system="s")
    assert nothing is None
    more = [*BODY["messages"], {"role": "assistant", "content": "a"}]
    grown = [*more, {"role": "user", "content": "b"}]
    assert ask(first, system="s", messages=grown)[1] is None
    for fields, reason in (
        ({"system": "t"}, "system_changed"),
        ({"system": "s", "tools": TOOLS}, "tools_changed"),
        ({"system": "s", "model": "claude-sonnet-5"}, "model_changed"),
        ({"system": "s", "messages": grown[2:]}, "messages_changed"),
    ):
        told = ask(first, **fields)[1]["cache_miss_reason"]
        assert (told["type"], told["cache_missed_input_tokens"] > 0) == (reason, True)
    unknown = ask("msg_01unknown")[1]["cache_miss_reason"]
    assert unknown == {"type": "previous_message_not_found"}
    poisoned = {**BODY, "diagnostics": {"previous_message_id": "8c5a-uuid"}}
    assert "must be the `id` from a prior" in error(post(simulator, poisoned))[2]


def test_the_log_tells_scripted_from_unscripted_rejections() -> None:
    simulator = Simulator(faults="429 retry-after=2 @1, 529 @3")
    post(simulator)
    post(simulator, {**BODY, "messages": []})
    post(simulator, {**BODY, "messages": []})
    post(simulator)

    scripted, illegal, hidden, fine = simulator.log
    assert (scripted.status, scripted.scripted, scripted.objection) == (429, True, None)
    assert (illegal.status, illegal.scripted) == (400, False)
    # A fault does not hide that the request was illegal.
    assert (hidden.status, hidden.scripted) == (529, True)
    assert hidden.objection == illegal.error
    assert fine.accepted
    assert fine.error is None
    assert simulator.unscripted_rejections() == (illegal, hidden)
    assert "429 rate_limit_error" in scripted.line


def test_a_limit_that_shrinks_explains_the_rejections_it_causes() -> None:
    now = [0.0]
    simulator = Simulator(
        faults="limit output_max=50 at t=30, rule R2 off @3, rule R2 on @4",
        clock=lambda: now[0],
    )

    assert post(simulator).status == 200
    now[0] = 30.0
    assert error(post(simulator))[2].startswith("max_tokens: 100 > 50")
    assert simulator.log[-1].scripted
    assert simulator.unscripted_rejections() == ()
    post(simulator)
    post(simulator, {**BODY, "max_tokens": 10**6})
    assert not simulator.log[-1].scripted


def test_unknown_names_are_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="images_max"):
        Simulator(faults="limit imgaes_max=20")
    with pytest.raises(SettingsError, match="R8"):
        Simulator(faults="rule R99 off")


FAULTS = "429 every 5, cut 4 eof every 3, cut 40% reset every 7, slow events 1s every 4"


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8), st.integers())
def test_equal_runs_give_equal_bytes(
    requests: list[tuple[int, bool]], seed: int
) -> None:
    def run() -> list[ApiResponse]:
        simulator = Simulator(seed=seed, faults=FAULTS)
        return [
            post(
                simulator,
                {
                    **BODY,
                    "stream": stream,
                    "messages": [{"role": "user", "content": f"say {word}"}],
                },
            )
            for word, stream in requests
        ]

    assert run() == run()


def test_interleaving_changes_no_conversation() -> None:
    bodies = [
        {**BODY, "messages": [{"role": "user", "content": f"say {word}"}]}
        for word in range(4)
    ]
    forward, backward = Simulator(seed=7), Simulator(seed=7)

    there = {word: post(forward, bodies[word]).body for word in range(4)}
    back = {word: post(backward, bodies[word]).body for word in (3, 1, 0, 2)}

    assert there == back


def test_a_repeated_request_is_another_sample() -> None:
    simulator = Simulator()

    ids = {json.loads(post(simulator).body)["id"] for _ in range(20)}

    assert len(ids) == 20


def test_without_strictness_only_what_is_needed_is_checked() -> None:
    simulator = Simulator(Scripted(["a"] * 9), strict=False)
    odd = {**BODY, "messages": [{"role": "assistant", "content": ""}], "top_k": 3}

    assert post(simulator, odd).status == 200
    assert post(simulator, {"model": "m"}).status == 400
    assert post(simulator, b"{").status == 400


def test_importing_the_simulator_imports_no_client() -> None:
    code = (
        "import sys, turnlatch.simulator;"
        "sys.exit(any(name in sys.modules for name in ('anthropic', 'httpx2')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_answer_may_name_its_stop_reason_and_is_then_not_cut() -> None:
    answer = reply("x" * 900, stop_reason="pause_turn")

    message = json.loads(post(Simulator(Scripted([answer]))).body)

    assert message["stop_reason"] == "pause_turn"
    assert len(message["content"][0]["text"]) == 900
