"""The meaning of the API's error codes, unknown codes included.

A code is the contract: wording is not promised, codes are. Every release of the SDK adds
some, and the service sends them before that. A new code mostly begins or ends like its
elders, so a code that stands in no table means what its family means.
"""

from collections.abc import Mapping
from typing import Final, final

import attrs

from turnlatch_states.api.fault_kinds import FaultKind

BY_CODE: Final[Mapping[str, FaultKind | None]] = {
    # the server's copy of the conversation
    "thread_not_found": FaultKind.THREAD,
    "thread_already_continued": FaultKind.THREAD,
    "thread_continue_in_flight": FaultKind.THREAD,
    "thread_fingerprint_mismatch": FaultKind.THREAD,
    "thread_unsupported_request": FaultKind.THREAD,
    # compaction
    "compaction_unavailable": FaultKind.TRANSIENT,
    "compaction_block_ambiguous": FaultKind.COMPACTION,
    "compaction_block_misplaced": FaultKind.COMPACTION,
    "compaction_content_mismatch": FaultKind.COMPACTION,
    "compaction_signature_invalid": FaultKind.COMPACTION,
    "compaction_tool_changes_mismatch": FaultKind.COMPACTION,
    "compaction_incomplete_turn": FaultKind.COMPACTION,
    "compaction_nothing_to_summarize": FaultKind.COMPACTION,
    "compaction_too_many_tool_references": FaultKind.COMPACTION,
    # the request and its parts
    "request_body_too_large_after_decoding": FaultKind.TOO_LONG,
    "request_body_timeout": FaultKind.TRANSIENT,
    "request_body_encoding_invalid": FaultKind.INVALID,
    "request_body_encoding_unsupported": FaultKind.INVALID,
    "unsupported_charset": FaultKind.INVALID,
    "available_tools_limit_exceeded": FaultKind.INVALID,
    "tool_name_conflict": FaultKind.INVALID,
    "tool_reference_unresolved": FaultKind.INVALID,
    "file_expired": FaultKind.BLOCK,
    "file_not_downloadable": FaultKind.BLOCK,
    "image_dimensions_too_large": FaultKind.BLOCK,
    # credit and limits
    "enforced_spend_limit_reached": FaultKind.BILLING,
    "contract_spend_limit_reached": FaultKind.BILLING,
    "linked_organization_billing_unavailable": FaultKind.BILLING,
    "linked_organization_spend_limit_reached": FaultKind.BILLING,
    "user_profile_billing_not_authorized": FaultKind.BILLING,
    "user_profile_not_billable": FaultKind.BILLING,
    "spend_limits_admin_api_writes_not_enabled": FaultKind.AUTH,
    "ramp_limit_exceeded": FaultKind.TRANSIENT,
    # who may do what, whatever status it comes with
    "api_key_scope_missing": FaultKind.AUTH,
    "approval_required": FaultKind.AUTH,
    "claude_code_key_creator_not_member": FaultKind.AUTH,
    "claude_code_version_too_old": FaultKind.AUTH,
    "cmek_context_unavailable": FaultKind.TRANSIENT,
    "cmek_feature_unsupported": FaultKind.AUTH,
    "cmek_key_disabled": FaultKind.AUTH,
    "cmek_key_network_blocked": FaultKind.AUTH,
    "cmek_key_unreachable": FaultKind.TRANSIENT,
    "cmek_not_approved": FaultKind.AUTH,
    "organization_level_scoped_api_key_required": FaultKind.AUTH,
    "organization_not_eligible": FaultKind.AUTH,
    "organization_not_enrolled_in_beta": FaultKind.AUTH,
    "organization_on_hold": FaultKind.AUTH,
    "organization_type_not_supported": FaultKind.AUTH,
    "region_not_supported": FaultKind.AUTH,
    "sandbox_egress_restricted": FaultKind.AUTH,
    "skill_read_blocked_undecryptable": FaultKind.AUTH,
    "storage_not_approved": FaultKind.AUTH,
    "user_profile_not_found": FaultKind.AUTH,
    "user_profile_required": FaultKind.AUTH,
    "workspace_human_review_disabled": FaultKind.AUTH,
    "workspace_policy_violation": FaultKind.AUTH,
    # administration that belongs to no family: no more than their status
    "change_outcome_unknown": None,
    "heartbeat_precondition_failed": None,
    "invalid_config_type_change": None,
    "invalid_metadata": None,
    "registration_pending": None,
}
"""The kind of a code, which outranks its family and its status; None if the status
decides. A test checks that every code of the SDK is here or belongs to a family."""


@final
@attrs.frozen
class Family:
    """Codes that mean the same because they begin, end, or are made up alike.

    Attributes:
        name: The subject of the family.
        kind: The kind of its codes.
        starts: Words that such a code begins with.
        words: Words that stand anywhere in it.
        ends: Words that it ends with.
    """

    name: str
    kind: FaultKind
    starts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    def has(self, code: str) -> bool:
        """True if a code is of this family."""
        framed = f"_{code}_"
        return (
            any(framed.startswith(f"_{one}_") for one in self.starts)
            or any(f"_{one}_" in framed for one in self.words)
            or any(framed.endswith(f"_{one}_") for one in self.ends)
        )


FAMILIES: Final = (
    Family("thread", FaultKind.THREAD, starts=("thread",)),
    Family("compaction", FaultKind.COMPACTION, starts=("compaction",)),
    Family(
        "credit",
        FaultKind.BILLING,
        starts=("credit", "credits", "payment", "invoice"),
        words=("billing", "spend_limit"),
        ends=("not_billable",),
    ),
    Family(
        "account",
        FaultKind.AUTH,
        starts=(
            "access",
            "account",
            "approval",
            "authorization",
            "aws",
            "azure",
            "beta",
            "bundle",
            "cannot_sign_out",
            "claude_code",
            "claude_tag",
            "compliance",
            "contract",
            "credential",
            "credentials",
            "email",
            "encryption",
            "entitlement",
            "environment",
            "feature",
            "gcp",
            "google",
            "grant",
            "identity",
            "key",
            "license",
            "permission",
            "plan",
            "project",
            "provider",
            "quota",
            "region",
            "sandbox",
            "scan",
            "seat",
            "settings",
            "skill",
            "subscription",
        ),
        words=(
            "api_key",
            "cmek",
            "data_residency",
            "external_key",
            "human_review",
            "invite",
            "invites",
            "member",
            "members",
            "membership",
            "org",
            "organization",
            "organizations",
            "plugin",
            "rbac",
            "slack",
            "storage",
            "user_profile",
            "workspace",
            "workspaces",
        ),
        ends=(
            "approval_required",
            "deactivated",
            "disabled",
            "not_allowed",
            "not_approved",
            "not_authorized",
            "not_eligible",
            "not_enabled",
            "not_enrolled",
            "not_entitled",
            "not_permitted",
            "not_verified",
            "on_hold",
            "restricted",
            "suspended",
            "unsupported_region",
        ),
    ),
)
"""The kind of codes that `BY_CODE` does not have; the first matching family decides.

A family speaks where status and type say only that the request is refused (a plain 400,
404 or 422): there nothing else keeps an account's trouble from being searched for in the
history. A status that says more stands. Credit is the exception: a spend limit comes with
429, too, and waiting does not raise it."""

CODE_MAX: Final = 200
"""A longer text is not taken for a code."""


def family(code: str | None) -> Family | None:
    """The family of a code that `BY_CODE` does not have; None without a family.

    Args:
        code: A code of the API, known or not.
    """
    if code is None or code in BY_CODE or len(code) > CODE_MAX:
        return None
    return next((one for one in FAMILIES if one.has(code)), None)
