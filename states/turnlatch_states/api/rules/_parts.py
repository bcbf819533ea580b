"""The parts that content blocks are made of: text, media, citations, cache marks.

Derived from the request types of the `anthropic` SDK, like the blocks themselves.
"""

from turnlatch_states.api.rules._schema import (
    Fields,
    Node,
    Variant,
    anything,
    boolean,
    integer,
    list_of,
    may,
    need,
    null_or,
    one_of,
    record,
    string,
    string_or,
    tagged,
)

CALL_ID = "^[a-zA-Z0-9_-]+$"
SERVER_CALL_ID = "^srvtoolu_[a-zA-Z0-9_]+$"
TOOL_NAME = "^[a-zA-Z0-9_-]{1,128}$"

# The tag has been read before a member of a union is asked.
TAG = need(anything)
TEXT = need(string())
MAYBE_TEXT = may(null_or(string()))
NUMBER = need(integer())
MAYBE_NUMBER = may(null_or(integer()))

_CACHE_FIELDS: Fields = {
    "type": need(one_of("R24", "ephemeral")),
    "ttl": may(one_of("R24", "5m", "1h")),
}
CACHE_CONTROL = may(null_or(record(_CACHE_FIELDS, "R24")))
"""The field that marks the end of a cached prefix."""


def variant(fields: Fields, *betas: str, rule: str = "R1") -> Variant:
    """A member of a union, under one of `betas` if any are given."""
    return Variant(record(fields, rule), frozenset(betas) or None)


_SPAN: Fields = {
    "type": TAG,
    "cited_text": TEXT,
    "document_index": NUMBER,
    "document_title": need(null_or(string())),
}
_BLOCK_SPAN: Fields = {"start_block_index": NUMBER, "end_block_index": NUMBER}
_CITATION = tagged(
    {
        "char_location": variant(
            {**_SPAN, "start_char_index": NUMBER, "end_char_index": NUMBER}
        ),
        "page_location": variant(
            {**_SPAN, "start_page_number": NUMBER, "end_page_number": NUMBER}
        ),
        "content_block_location": variant({**_SPAN, **_BLOCK_SPAN}),
        "web_search_result_location": variant(
            {
                "type": TAG,
                "cited_text": TEXT,
                "encrypted_index": TEXT,
                "title": need(null_or(string())),
                "url": TEXT,
            }
        ),
        "search_result_location": variant(
            {
                "type": TAG,
                "cited_text": TEXT,
                **_BLOCK_SPAN,
                "search_result_index": NUMBER,
                "source": TEXT,
                "title": need(null_or(string())),
            }
        ),
    }
)
_CITATIONS_CONFIG = record({"enabled": may(boolean())})

TEXT_FIELDS: Fields = {
    "type": TAG,
    "text": TEXT,
    "cache_control": CACHE_CONTROL,
    "citations": may(null_or(list_of(_CITATION))),
}
IMAGE_FIELDS: Fields = {
    "type": TAG,
    "source": need(
        tagged(
            {
                "base64": variant(
                    {
                        "type": TAG,
                        "data": TEXT,
                        "media_type": need(
                            one_of(
                                "R30",
                                "image/jpeg",
                                "image/png",
                                "image/gif",
                                "image/webp",
                            )
                        ),
                    }
                ),
                "url": variant({"type": TAG, "url": TEXT}),
                "file": variant({"type": TAG, "file_id": TEXT}),
            }
        )
    ),
    "cache_control": CACHE_CONTROL,
    "transformations": may(
        null_or(record({"oversized_image": may(one_of("R1", "downsize", "error"))}))
    ),
}
DOCUMENT_FIELDS: Fields = {
    "type": TAG,
    "source": need(
        tagged(
            {
                "base64": variant(
                    {
                        "type": TAG,
                        "data": TEXT,
                        "media_type": need(one_of("R30", "application/pdf")),
                    }
                ),
                "text": variant(
                    {
                        "type": TAG,
                        "data": TEXT,
                        "media_type": need(one_of("R30", "text/plain")),
                    }
                ),
                "content": variant(
                    {
                        "type": TAG,
                        "content": need(
                            string_or(
                                list_of(
                                    tagged(
                                        {
                                            "text": variant(TEXT_FIELDS),
                                            "image": variant(IMAGE_FIELDS),
                                        }
                                    )
                                )
                            )
                        ),
                    }
                ),
                "url": variant({"type": TAG, "url": TEXT}),
                "file": variant({"type": TAG, "file_id": TEXT}),
            }
        )
    ),
    "cache_control": CACHE_CONTROL,
    "citations": may(null_or(_CITATIONS_CONFIG)),
    "context": MAYBE_TEXT,
    "title": MAYBE_TEXT,
}
SEARCH_RESULT_FIELDS: Fields = {
    "type": TAG,
    "content": need(list_of(tagged({"text": variant(TEXT_FIELDS)}))),
    "source": TEXT,
    "title": TEXT,
    "cache_control": CACHE_CONTROL,
    "citations": may(_CITATIONS_CONFIG),
}
TOOL_REFERENCE_FIELDS: Fields = {
    "type": TAG,
    "tool_name": TEXT,
    "cache_control": CACHE_CONTROL,
}
_DOWNLOAD: Fields = {"type": TAG, "download_id": TEXT, "url": TEXT}
BROWSER_STATE_FIELDS: Fields = {
    "type": TAG,
    "tabs": need(
        list_of(
            record(
                {
                    "tab_id": TEXT,
                    "title": TEXT,
                    "url": TEXT,
                    "active": may(boolean()),
                }
            )
        )
    ),
    "cache_control": CACHE_CONTROL,
    "state_changes": may(
        null_or(
            list_of(
                tagged(
                    {
                        "tab_opened": variant({"type": TAG, "tab_id": TEXT}),
                        "download_started": variant(_DOWNLOAD),
                        "download_completed": variant(
                            {
                                **_DOWNLOAD,
                                "path": MAYBE_TEXT,
                                "size_bytes": MAYBE_NUMBER,
                            }
                        ),
                        "download_failed": variant({**_DOWNLOAD, "error": MAYBE_TEXT}),
                    }
                )
            )
        )
    ),
}
RESULT_PARTS: dict[str, Fields] = {
    "text": TEXT_FIELDS,
    "image": IMAGE_FIELDS,
    "search_result": SEARCH_RESULT_FIELDS,
    "document": DOCUMENT_FIELDS,
    "tool_reference": TOOL_REFERENCE_FIELDS,
    "browser_state": BROWSER_STATE_FIELDS,
}
"""The blocks allowed in the content of a `tool_result`."""
RESULT_PART: Node = tagged(
    {tag: variant(own) for tag, own in RESULT_PARTS.items()}, "R15"
)
