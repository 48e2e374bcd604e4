"""botocore and boto3: a call is one client span, and messages of SQS and SNS carry the ids in their attributes."""

from __future__ import annotations

from .. import aws, messaging
from ..outside import sealed
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("botocore.client", "botocore.httpsession")


def patch(module: ModuleType) -> None:
    if module.__name__ == "botocore.client":
        wrap(module.BaseClient, "_make_api_call", aws.call)
        messaging.describe(dict, aws.described)
    else:
        # Whatever it signs, and however: nothing may be added to it.
        wrap(module.URLLib3Session, "send", sealed)
