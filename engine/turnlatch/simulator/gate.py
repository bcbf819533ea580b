"""What is checked before a body is looked into: size, credential, version, JSON, betas.

The order, where the public documentation does not give one, is the order of the service's
layers: the edge, the gateway, the parser, the endpoint
(https://platform.claude.com/docs/en/api/errors).
"""

import json
import re
from collections.abc import Container, Sequence
from typing import NoReturn

from turnlatch.simulator.wire import ApiRequest, Json, Refusal, as_object
from turnlatch_states.api.betas import KNOWN_BETAS, can_be_a_beta


def invalid(message: str, code: str | None = None) -> Refusal:
    """A 400 `invalid_request_error`."""
    return Refusal(400, "invalid_request_error", message, code)


def size_refusal(request: ApiRequest, bytes_max: int) -> Refusal | None:
    """The edge's word on a body that is too long."""
    if request.size <= bytes_max:
        return None
    return Refusal(413, "request_too_large", "Request exceeds the maximum size")


def credential_refusal(
    request: ApiRequest, keys: Sequence[Container[str] | None]
) -> Refusal | None:
    """401 unless the request has a credential that is good.

    Args:
        request: Its `x-api-key` counts, else its `authorization: Bearer`.
        keys: Collections of good ones; None among them if any will do.
    """
    key, message = request.header("x-api-key"), "invalid x-api-key"
    if key is None:
        authorization = request.header("authorization") or ""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            key, message = token, "Invalid bearer token"
    if key is None:
        return Refusal(401, "authentication_error", "x-api-key header is required")
    key = key.strip()
    if not key or not any(good is None or key in good for good in keys):
        return Refusal(401, "authentication_error", message)
    return None


def version_refusal(request: ApiRequest) -> Refusal | None:
    """400 unless the request names a version of the API."""
    version = request.header("anthropic-version")
    if not version:
        return invalid("anthropic-version: header is required")
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", version, re.ASCII):
        return invalid(f'anthropic-version: "{version}" is not a valid version')
    return None


def beta_values(request: ApiRequest) -> frozenset[str]:
    """The values of all `anthropic-beta` headers."""
    return frozenset(
        value.strip()
        for name, text in request.headers
        if name == "anthropic-beta"
        for value in text.split(",")
        if value.strip()
    )


def beta_refusal(betas: frozenset[str], *, strict: bool) -> Refusal | None:
    """400 for values of `anthropic-beta` that cannot be names of betas.

    Args:
        betas: The values.
        strict: Refuse also the names that only are not known.
    """
    unknown = sorted(
        name for name in betas - KNOWN_BETAS if strict or not can_be_a_beta(name)
    )
    if not unknown:
        return None
    named = ", ".join(f"`{name}`" for name in unknown)
    return invalid(
        f"Unexpected value(s) {named} for the `anthropic-beta` header. Please consult"
        " our documentation at platform.claude.com/docs or try again without the"
        " header."
    )


def parse_body(request: ApiRequest) -> Json | Refusal:
    """The JSON object a body holds."""
    encoding = request.header("content-encoding")
    if encoding not in (None, "", "identity"):
        message = f"The content encoding {encoding} is not supported"
        return invalid(message, "request_body_encoding_unsupported")
    try:
        value: object = json.loads(request.body.decode(), parse_constant=_not_json)
        if b"\\u" in request.body:
            _check_surrogates(value)
    except UnicodeDecodeError as problem:
        return _not_valid(f"str is not valid UTF-8: {problem.reason}")
    except RecursionError:
        return nested_too_deeply()
    except ValueError as problem:
        return _not_valid(str(problem))
    body = as_object(value)
    if body is None:
        return invalid("Input should be an object")
    return body


def nested_too_deeply() -> Refusal:
    """400 for JSON that is nested more deeply than can be followed."""
    return _not_valid("recursion limit exceeded")


def _not_valid(reason: str) -> Refusal:
    return invalid(f"The request body is not valid JSON: {reason}")


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"unexpected token {name}")


def _check_surrogates(value: object) -> None:
    # Python lets a lone `\ud83d` pass; a strict parser cannot, UTF-8 has no such text.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise ValueError("no low surrogate in string") from problem
