"""DashScope's blame table (providers/dashscope.md §9).

The same words refuse a request, fail a task and mark a single picture; Modelverse passes them
on inside its failed tasks. A quota that may be gone in a minute, or not, rests two minutes.
"""

from __future__ import annotations

from gateway.domain.errors import Sent
from gateway.upstreams._errors import MODEL, ErrorTable, account, caller, provider, rate

SHORT_REST_S = 120.0
RATE_REST_S = 1.0

ERRORS = ErrorTable(
    provider("AccessDenied", message=r"does not support a?synchronous calls"),
    account("Arrearage"),
    account(
        "CommodityNotPurchased", "PrepaidBillOverdue", "PostpaidBillOverdue", "BudgetLimitExceeded"
    ),
    account("InvalidApiKey"),
    account("AllocationQuota.FreeTierOnly", scope=MODEL),
    account("Throttling.AllocationQuota", "insufficient_quota", message=r"free", scope=MODEL),
    rate(
        "Throttling.AllocationQuota",
        "insufficient_quota",
        message=r"per[ -]minute|\b[rt]pm\b",
        retry_after_s=RATE_REST_S,
    ),
    account(
        "Throttling.AllocationQuota",
        "insufficient_quota",
        scope=MODEL,
        retry_after_s=SHORT_REST_S,
    ),
    rate("Throttling.*", "LimitRequests", "limit_burst_rate", retry_after_s=RATE_REST_S),
    account(
        "AccessDenied.*",
        "Model.AccessDenied",
        "Workspace.AccessDenied",
        "App.AccessDenied",
        scope=MODEL,
    ),
    account(
        "ModelNotFound", "Model.NotExist", "model_not_supported", "WorkSpaceNotFound", scope=MODEL
    ),
    caller("DataInspectionFailed", "IPInfringementSuspect", "CustomRoleBlocked", "FaqRuleBlocked"),
    caller(
        "InvalidImage.*",
        "InvalidImageResolution",
        "InvalidImageFormat",
        "InvalidInputLength",
        "InvalidFile.*",
        "InvalidURL.*",
    ),
    caller("InvalidParameter.*", "BadRequest.*", "UnsupportedOperation"),
    # The vendor gave up waiting for itself: a synchronous call may have been billed.
    provider("RequestTimeOut", "GatewayTimeout", sent=Sent.UNKNOWN),
    provider("InternalError.*", "SystemError", "ModelServiceFailed", "RewriteFailed"),
    provider("ModelUnavailable", "ModelServingError", "ServiceUnavailable"),
)
