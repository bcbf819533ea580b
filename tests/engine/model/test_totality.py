"""Totality: every exception that can come out of a request is a fault of a known kind."""

import gc
import inspect
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import anthropic
import anyio
import h11
import httpx2
import pytest
from anthropic._error_classes import ERROR_CLASSES
from tests.engine.model.known import sdk_exceptions, transport_exceptions
from tests.engine.model.wire import Server, ask, client, ignore
from tests.sdks import pinned

from turnlatch.errors import CancelledItselfError
from turnlatch.ports import RequestFailedError
from turnlatch.sdk import SdkModel
from turnlatch.sdk.failures import fault_of
from turnlatch_states.api.error_codes import family
from turnlatch_states.api.faults import FaultKind, classify

NOW = 1_800_000_000.0
REQUEST = httpx2.Request("POST", "https://api.test/v1/messages")

NAMES: Mapping[FaultKind, str] = {
    FaultKind.TRANSIENT: """
        APIConnectionError APIError APIResponseValidationError APIStatusError
        APITimeoutError AnthropicError RetryableError

        ClientClosedRequestError ConflictError GatewayTimeoutError
        HTTPNotImplementedError InternalServerError OverloadedError RateLimitError
        RequestTimeoutError ServiceUnavailableError

        BetaAuthorizationCheckUnavailableError
        BetaGCPProjectControlledByAnotherOrganizationError
        BetaPluginNameTakenError BetaRegistrationPendingError
        BetaRequestBodyTimeoutError BetaScanPendingError BetaSkillNameTakenError
        BetaSlackChannelSetUpSettingsConflictError
        BetaStorageAlreadyRegisteredError BetaStorageChangedConcurrentlyError
        BetaStorageInUseError BetaWorkspaceChangedConcurrentlyError
        CMEKContextUnavailableError CMEKKeyUnreachableError
        ChangeOutcomeUnknownError CompactionUnavailableError
        ConcurrentMembershipChangeError ExternalKeyChangedError
        RampLimitExceededError StorageAttachedDuringArchiveError
        WorkspaceCreatedIncompleteError

        CloseError ConnectError ConnectTimeout DecodingError HTTPError HTTPStatusError
        NetworkError PoolTimeout ProtocolError ProxyError ReadError ReadTimeout
        RemoteProtocolError RequestError SSEError TimeoutException TransportError WriteError WriteTimeout
    """,
    FaultKind.AUTH: """
        AuthenticationError CredentialsError IdentityTokenFileError
        MutuallyExclusiveAuthError PermissionDeniedError WorkloadIdentityError

        AlreadyMemberError BetaAPIKeyScopeMissingError BetaApprovalRequiredError
        BetaBundleAttachmentNotSupportedError BetaBundleOnCallError
        BetaCMEKFeatureUnsupportedError BetaCMEKNotApprovedError
        BetaCannotSignOutManagedMemberError
        BetaCannotSignOutMembershipAdminError BetaCannotSignOutOwnerError
        BetaCannotSignOutPrimaryOwnerError
        BetaCannotSignOutPrivilegedMemberError BetaCannotSignOutSelfError
        BetaClaudeTagWritesNotEnabledError
        BetaComplianceConfigurationRestrictedError BetaEnvironmentArchivedError
        BetaEnvironmentCreateDisabledError BetaEnvironmentNotFoundError
        BetaEnvironmentUpdateDisabledError BetaExternalKeyNotFoundError
        BetaExternalKeyProviderMismatchError BetaExternalStorageInUseError
        BetaExternalStorageInWorkspacePolicyError
        BetaExternalStorageNotAvailableError BetaGCPProjectNotVerifiedError
        BetaGrantRequiredError BetaHumanReviewNotAvailableError
        BetaHumanReviewOnWithExternalStorageError BetaInvalidStorageARNError
        BetaOrganizationLevelScopedAPIKeyRequiredError
        BetaOrganizationNotEligibleError BetaOrganizationNotEnrolledInBetaError
        BetaProviderNotAllowedError BetaRBACGroupManagedSettingsNotFoundError
        BetaRBACGroupNotFoundError BetaRBACGroupOrderLimitExceededError
        BetaRegionNotSupportedError BetaScanFailedError
        BetaSettingsDocumentLimitExceededError
        BetaSettingsHistoryLimitExceededError
        BetaSlackChannelSetUpEnvironmentNotFoundError
        BetaSlackChannelSetUpSettingsRefusedError
        BetaSpendLimitsAdminAPIWritesNotEnabledError
        BetaStorageAttachLimitReachedError BetaStorageNotApprovedError
        BetaStorageNotAttachableError BetaStorageProfileStillRequiredError
        BetaStorageVerificationFailedError BetaTranscriptsStorageRequiredError
        BetaUnsupportedRegionError CMEKKeyDisabledError
        CMEKKeyNetworkBlockedError CannotInviteEmailsWithUnverifiedDomainsError
        CannotRemoveLastMemberError ClaudeCodeKeyCreatorNotMemberError
        ClaudeCodeVersionTooOldError EmailDomainNotAllowedError
        ExternalKeyInWorkspacePolicyError ExternalKeyValidationFailedError
        ExternalKeyValidationTimedOutError InviteAlreadyExistsError
        KeyProfileMismatchError OrgAPIKeyLimitExceededError
        OrgMemberLimitExceededError OrganizationOnHoldError
        OrganizationTypeNotSupportedError ParentOrganizationRequiredError
        RBACGroupGrantsOwnerAccessError RBACGroupOwnerAccessUnconfirmedError
        RBACRoleNotFoundError SandboxEgressRestrictedError
        SkillReadBlockedUndecryptableError StorageProfileMismatchError
        StorageQuotaExceededError UserProfileNotFoundError
        UserProfileRequiredError WorkspaceAPIKeyLimitExceededError
        WorkspaceHumanReviewDisabledError WorkspaceMemberLimitExceededError
        WorkspacePolicyViolationError
    """,
    FaultKind.BILLING: """
        PaymentRequiredError

        ContractSpendLimitReachedError EnforcedSpendLimitReachedError
        LinkedOrganizationBillingUnavailableError
        LinkedOrganizationSpendLimitReachedError UserProfileBillingNotAuthorizedError
        UserProfileNotBillableError
    """,
    FaultKind.THREAD: """
        ThreadAlreadyContinuedError ThreadContinueInFlightError
        ThreadFingerprintMismatchError ThreadNotFoundError
        ThreadUnsupportedRequestError
    """,
    FaultKind.COMPACTION: """
        CompactionBlockAmbiguousError CompactionBlockMisplacedError
        CompactionContentMismatchError CompactionIncompleteTurnError
        CompactionNothingToSummarizeError CompactionSignatureInvalidError
        CompactionToolChangesMismatchError CompactionTooManyToolReferencesError
    """,
    FaultKind.TOO_LONG: "ContentTooLargeError RequestBodyTooLargeAfterDecodingError",
    FaultKind.BLOCK: """
        FileExpiredError FileNotDownloadableError ImageDimensionsTooLargeError
    """,
    FaultKind.INVALID: """
        BadRequestError NotFoundError PreconditionFailedError
        RequestHeaderFieldsTooLargeError UnprocessableEntityError TooManyRedirects

        AvailableToolsLimitExceededError BetaHeartbeatPreconditionFailedError
        BetaInvalidConfigTypeChangeError BetaInvalidMetadataError
        BetaUnsupportedCharsetError RequestBodyEncodingInvalidError
        RequestBodyEncodingUnsupportedError ToolNameConflictError
        ToolReferenceUnresolvedError
    """,
    FaultKind.LOCAL: """
        APIWebhookValidationError MissingDependencyError StreamAlreadyConsumed

        AsyncOnSyncToolsetError BrowserStateError NestedCallError
        SyncOnAsyncToolsetError ToolsetClosedError ToolsetConfigError
        ToolsetContractError ToolsetUsageError ToolsetsFixedError

        CookieConflict InvalidURL LocalProtocolError RequestNotRead ResponseNotRead
        StreamClosed StreamConsumed StreamError UnsupportedProtocol
    """,
}
"""What each class of the SDK and its transport comes to."""

KINDS = {name: kind for kind, names in NAMES.items() for name in names.split()}

TO_DO = (
    "nobody has said what it means. Say so in `EXCEPTIONS` (turnlatch.sdk.failures) or,"
    " where it stands for an error code, in `BY_CODE` (turnlatch_states.api.faults), and then"
    " in NAMES here"
)

ANSWERS: dict[type[Exception], tuple[int, str | None]] = {
    one: where for where, one in ERROR_CLASSES.items()
}
"""The status and the error code that each class of an answer stands for."""


EXACT = f"anthropic=={anthropic.__version__}" in pinned()
"""True for the SDK that the lists here were made for; False under `make sdks`."""


def envelope(code: str | None) -> dict[str, Any]:
    error: dict[str, Any] = {"message": "said"}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_body"}


def made(cls: type[Exception]) -> Exception:
    """One exception of that class."""
    status, code = ANSWERS.get(cls, (500, None))
    response = httpx2.Response(status, json=envelope(code), request=REQUEST)
    given = {
        "body": envelope(code),
        "message": "said",
        "request": REQUEST,
        "response": response,
        # of the toolsets and the extras
        "action": "add",
        "exc": ValueError("said"),
        "extra": "mcp",
        "library": "mcp",
        "toolset_name": "files",
        "twin": "files",
        "what": "files",
    }
    args: list[Any] = []
    named: dict[str, Any] = {}
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:  # Python's own, which takes anything
        return cls("said")
    for one in parameters:
        if one.default is not one.empty or one.kind is one.VAR_POSITIONAL:
            continue
        if one.kind is one.KEYWORD_ONLY:
            named[one.name] = given[one.name]
        else:
            args.append(given[one.name])
    return cls(*args, **named)


def wrongs(
    found: Iterable[type[Exception]],
    kinds: Mapping[str, FaultKind],
    *,
    exact: bool = EXACT,
) -> list[str]:
    """What is not as it is listed, in words; nothing where all is well.

    Another SDK than the pinned one (not `exact`) may lack classes, and may have new ones
    for error codes, as long as the codes have a family.
    """
    said: list[str] = []
    names: set[str] = set()
    for cls in sorted(found, key=lambda one: one.__name__):
        name = cls.__name__
        names.add(name)
        if name not in kinds and not exact and family(ANSWERS.get(cls, (0, None))[1]):
            continue
        if name not in kinds:
            said.append(f"{cls.__module__}.{name}: {TO_DO}")
            continue
        try:
            error = made(cls)
        except (KeyError, TypeError) as problem:
            said.append(f"{name}: say in `made` how one is made ({problem!r})")
            continue
        fault = fault_of(error, NOW)
        if fault.kind is not kinds[name]:
            said.append(f"{name}: {fault.kind} ({fault}), not {kinds[name]}")
        if not fault.message or "\n" in fault.message:
            said.append(f"{name}: its message is {fault.message!r}")
    gone = sorted(set(kinds) - names) if exact else []
    return said + [f"{name}: it exists no more; take it out of NAMES" for name in gone]


def everything() -> set[type[Exception]]:
    public = {
        one
        for one in (getattr(anthropic, name) for name in anthropic.__all__)
        if inspect.isclass(one) and issubclass(one, Exception)
    }
    return (
        public | set(ERROR_CLASSES.values()) | sdk_exceptions() | transport_exceptions()
    )


def test_every_exception_has_the_kind_that_is_listed() -> None:
    assert wrongs(everything(), KINDS) == []


@pytest.fixture
def _forget() -> Iterator[None]:
    """A class is found for as long as it exists."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_forget")
@pytest.mark.parametrize(
    "base",
    [anthropic.AnthropicError, anthropic.OverloadedError, anthropic.CredentialsError],
)
def test_class_that_the_sdk_gains_is_noticed(base: type[Exception]) -> None:
    planted = type("BrandNewError", (base,), {"__module__": "anthropic._brand_new"})

    assert wrongs(everything(), KINDS) == [
        f"anthropic._brand_new.{planted.__name__}: {TO_DO}"
    ]


@pytest.mark.parametrize(
    ("planted", "noticed"),
    [
        ({"AuthenticationError": FaultKind.TRANSIENT}, "AuthenticationError: auth"),
        ({"ThreadNotFoundError": FaultKind.INVALID}, "ThreadNotFoundError: thread"),
        ({"ReadTimeout": FaultKind.LOCAL}, "ReadTimeout: transient"),
    ],
)
def test_wrong_entry_is_noticed(planted: dict[str, FaultKind], noticed: str) -> None:
    (said,) = wrongs(everything(), KINDS | planted)

    assert said.startswith(noticed)


def test_class_that_is_gone_is_noticed() -> None:
    gone = wrongs(everything(), {**KINDS, "WasOnceError": FaultKind.LOCAL}, exact=True)

    assert "WasOnceError: it exists no more; take it out of NAMES" in gone
    assert not wrongs(
        everything(), {**KINDS, "WasOnceError": FaultKind.LOCAL}, exact=False
    )


def test_new_class_for_a_code_with_a_family_is_noticed_where_all_are_listed() -> None:
    """Another SDK is taken as it is; only the pinned one has to be listed whole."""
    name = "WorkspacePolicyViolationError"
    fewer = {listed: kind for listed, kind in KINDS.items() if listed != name}
    found = {cls for cls in everything() if cls.__name__ in KINDS}

    assert wrongs(found, fewer, exact=False) != []  # a code of its own, and no family
    fewer = {one: kind for one, kind in KINDS.items() if one != "BetaScanFailedError"}
    assert wrongs(found, fewer, exact=False) == []
    (said,) = wrongs(found, fewer, exact=True)[:1]
    assert "BetaScanFailedError" in said


@pytest.mark.anyio
async def test_sdk_raises_what_is_listed() -> None:
    """The same over the wire, for every status and error code that the SDK knows."""
    for (status, code), cls in ERROR_CLASSES.items():
        body = json.dumps(envelope(code)).encode()
        server = Server([body], status, "application/json", request_id="req_head")

        with pytest.raises(RequestFailedError) as caught:
            await SdkModel(client(server)).send(ask(), ignore)

        fault = caught.value.fault
        assert type(caught.value.__cause__) is cls
        listed = KINDS.get(cls.__name__)
        meant = listed if EXACT else classify(status, None, code, "said")
        assert fault.kind is meant, cls
        assert (fault.status, fault.code) == (status, code)
        assert fault.request_id == "req_head"
        assert len(server.requests) == 1


CREDENTIALS = '"Could not resolve authentication method. Expected one of api_key, …"'


@pytest.mark.parametrize(
    ("error", "kind", "unknown"),
    [
        (TypeError(CREDENTIALS), FaultKind.AUTH, False),
        (TypeError("unexpected keyword"), FaultKind.LOCAL, False),
        (json.JSONDecodeError("Expecting value", "<html>", 0), "transient", True),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal"), FaultKind.LOCAL, False),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "start"), FaultKind.LOCAL, False),
        (ValueError("Out of range float"), FaultKind.LOCAL, False),
        (RuntimeError("the client has been closed"), FaultKind.LOCAL, False),
        (RuntimeError("Event loop is closed"), FaultKind.LOCAL, False),
        (CancelledItselfError(), FaultKind.LOCAL, True),
        (ImportError("aiohttp"), FaultKind.LOCAL, False),
        (AttributeError("'NoneType'"), FaultKind.LOCAL, True),
        (AssertionError(), FaultKind.LOCAL, True),
        (RecursionError("deep"), FaultKind.LOCAL, False),
        (MemoryError(), FaultKind.LOCAL, True),
        (TimeoutError(), FaultKind.TRANSIENT, True),
        (ConnectionRefusedError(111, "refused"), FaultKind.TRANSIENT, True),
        (BrokenPipeError(32, "broken"), FaultKind.TRANSIENT, True),
        (ssl.SSLCertVerificationError("expired"), FaultKind.TRANSIENT, True),
        (h11.LocalProtocolError("header"), FaultKind.LOCAL, False),
        (h11.RemoteProtocolError("cut"), FaultKind.TRANSIENT, True),
        (anyio.ClosedResourceError(), FaultKind.LOCAL, True),
        (ExceptionGroup("of a hook", [ValueError("1")]), FaultKind.LOCAL, True),
    ],
    ids=lambda one: repr(one) if isinstance(one, Exception) else str(one),
)
def test_exceptions_of_others_are_faults(
    error: Exception, kind: FaultKind, unknown: bool
) -> None:
    wrapped = anthropic.APIConnectionError(request=REQUEST)
    wrapped.__cause__ = error

    for one in (error, wrapped):
        fault = fault_of(one, NOW)
        assert fault.kind == kind
        assert fault.outcome_unknown is unknown
        assert fault.message
