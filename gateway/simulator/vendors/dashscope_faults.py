"""DashScope's error codes (providers/dashscope.md section 9): the same words refuse a request, fail
a
task, and mark a single picture. Modelverse passes them on inside its failed tasks.
"""

from __future__ import annotations

from gateway.simulator.faults import Fault, FaultTable
from gateway.simulator.vendors.base import fault_rows

ROWS: tuple[tuple[int, tuple[str, ...], str], ...] = (
    (
        400,
        (
            "InvalidParameter",
            "BadRequest.EmptyInput",
            "BadRequest.EmptyParameters",
            "BadRequest.EmptyModel",
            "BadRequest.IllegalInput",
        ),
        "Required parameter missing or invalid, please check the request parameters.",
    ),
    (
        400,
        ("UnsupportedOperation",),
        "Failed to cancel the task, please confirm if the task is in PENDING status.",
    ),
    (
        400,
        ("DataInspectionFailed", "IPInfringementSuspect", "CustomRoleBlocked", "FaqRuleBlocked"),
        "Input or output data may contain inappropriate content.",
    ),
    (
        400,
        (
            "InvalidImage",
            "InvalidImage.ImageSize",
            "InvalidImageResolution",
            "InvalidImageFormat",
            "InvalidInputLength",
            "InvalidFile.Format",
        ),
        "The input picture is not usable.",
    ),
    (
        400,
        (
            "InvalidURL",
            "InvalidURL.Timeout",
            "InvalidURL.ConnectionRefused",
            "InvalidParameter.DataInspection",
            "BadRequest.InputDownloadFailed",
        ),
        "Unable to download the media resource.",
    ),
    (400, ("BadRequest.TooLarge",), "Payload too large."),
    (
        400,
        ("Arrearage",),
        "Access denied, please make sure your account is in good standing.",
    ),
    (401, ("InvalidApiKey", "NOT AUTHORIZED"), "Invalid API-key provided."),
    (
        403,
        (
            "AccessDenied",
            "AccessDenied.Unpurchased",
            "Model.AccessDenied",
            "Workspace.AccessDenied",
            "App.AccessDenied",
            "AllocationQuota.FreeTierOnly",
        ),
        "Access denied.",
    ),
    (
        404,
        ("ModelNotFound", "Model.NotExist", "model_not_supported", "WorkSpaceNotFound"),
        "The model does not exist.",
    ),
    (404, ("NotFound",), "The resource does not exist."),
    (500, ("RequestTimeOut",), "Request timed out, please try again later."),
    (
        429,
        (
            "Throttling.RateQuota",
            "Throttling",
            "LimitRequests",
            "Throttling.BurstRate",
            "Throttling.ServiceOverloaded",
        ),
        "Requests rate limit exceeded, please try again later.",
    ),
    (
        429,
        ("Throttling.AllocationQuota", "insufficient_quota"),
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    (
        429,
        (
            "CommodityNotPurchased",
            "PrepaidBillOverdue",
            "PostpaidBillOverdue",
            "BudgetLimitExceeded",
        ),
        "The account is not in good standing.",
    ),
    (
        500,
        (
            "InternalError",
            "InternalError.Algo",
            "InternalError.Timeout",
            "InternalError.Upload",
            "InternalError.FileUpload",
            "SystemError",
            "ModelServiceFailed",
            "RewriteFailed",
        ),
        "An internal error has occured, please try again later.",
    ),
    (
        503,
        ("ModelUnavailable", "ModelServingError", "ServiceUnavailable"),
        "The model is temporarily unavailable.",
    ),
    (504, ("GatewayTimeout",), "The gateway timed out."),
)

_BY_CODE: dict[str, Fault] = {
    code: fault
    for status, codes, message in ROWS
    for code, fault in zip(
        codes, fault_rows((status, code, message) for code in codes), strict=True
    )
}

NAMES: dict[str, str] = {
    "invalid_parameter": "InvalidParameter",
    "content_policy": "DataInspectionFailed",
    "bad_key": "InvalidApiKey",
    "unpaid": "Arrearage",
    "forbidden": "AccessDenied.Unpurchased",
    "model_not_found": "Model.NotExist",
    "task_not_found": "NotFound",
    "not_cancellable": "UnsupportedOperation",
    "no_route": "NotFound",
    "too_large": "BadRequest.TooLarge",
    "rate": "Throttling.RateQuota",
    "server_error": "InternalError",
    "unavailable": "ServiceUnavailable",
    "timeout": "InternalError.Timeout",
}
"""Common names and the codes they stand for."""

FAULTS = FaultTable({name: _BY_CODE[code] for name, code in NAMES.items()}, _BY_CODE.values())
