"""The models endpoint: GET /v1/models and GET /v1/models/{id}."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from turnlatch.simulator.wire import Json, Refusal
from turnlatch_states.api.models import MODELS, ModelSpec, spec

_EPOCH: Final = "1970-01-01T00:00:00Z"
_LINES: Final = ("haiku", "sonnet", "opus", "fable", "mythos")
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_PAGE: Final = 20


def list_models(query: str) -> Json:
    """One page of the models, newest first, as the query asks for it."""
    asked = parse_qs(query)
    entries: Sequence[ModelSpec] = MODELS
    names = [entry.name for entry in entries]
    start, end = 0, len(entries)
    if (after := asked.get("after_id", [""])[0]) in names:
        start = names.index(after) + 1
    if (before := asked.get("before_id", [""])[0]) in names:
        end = names.index(before)
    limit = asked.get("limit", [""])[0]
    size = int(limit) if limit.isdecimal() and 1 <= int(limit) <= 1000 else _PAGE
    page = entries[start:end][:size]
    return {
        "data": [model_info(entry, entry.name) for entry in page],
        "has_more": start + size < end,
        "first_id": page[0].name if page else None,
        "last_id": page[-1].name if page else None,
    }


def get_model(name: str) -> Json | Refusal:
    """One model by its id, dated or not."""
    found = spec(name)
    if found is None:
        return unknown_model(name)
    return model_info(found, name)


def unknown_model(name: object) -> Refusal:
    """404 for a model that does not exist."""
    return Refusal(404, "not_found_error", f"model: {name}")


def model_info(model: ModelSpec, name: str) -> Json:
    """A model as the endpoint describes it."""
    words = model.name.split("-")[1:]
    return {
        "type": "model",
        "id": name,
        "display_name": "Claude " + " ".join(word.capitalize() for word in words),
        "created_at": _EPOCH,
        "lifecycle": "active",
        "line": next((line for line in _LINES if line in words), None),
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": model.context_window,
        "max_tokens": model.output_max,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: ModelSpec) -> Json:
    compacts = "haiku" not in model.name and not model.prefill
    efforts = {each: _supported(each in model.efforts) for each in _EFFORTS}
    edits = ("clear_thinking_20251015", "clear_tool_uses_20250919")
    return {
        "batch": _supported(False),
        "citations": _supported(True),
        "code_execution": _supported(False),
        "compaction": {
            "supported": compacts,
            "summarize": _supported(compacts),
        },
        "context_management": {
            "supported": True,
            **{edit: _supported(True) for edit in edits},
            "compact_20260112": _supported(compacts),
        },
        "effort": {"supported": bool(model.efforts), **efforts},
        "image_input": _supported(True),
        "pdf_input": _supported(True),
        "server_tools": {
            "supported": False,
            "code_execution": _supported(False),
            "web_search": _supported(False),
        },
        "structured_outputs": _supported(True),
        "thinking": {
            "supported": True,
            "types": {
                each: _supported(each in model.thinking)
                for each in ("adaptive", "between_tools", "disabled", "enabled")
            },
        },
    }


def _supported(value: bool) -> Json:
    return {"supported": value}
