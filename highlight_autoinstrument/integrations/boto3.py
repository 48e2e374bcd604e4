"""boto3's resources: `message_context` reads a Message of SQS; the calls below are botocore's."""

from __future__ import annotations

from .. import aws, messaging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

MODULES = ("boto3.resources.base",)


def patch(base: ModuleType) -> None:
    messaging.describe(base.ServiceResource, described)


def described(resource: Any) -> tuple[str, str, Any] | None:
    data = resource.meta.data
    return aws.described(data) if isinstance(data, dict) else None
