"""aiobotocore: a call is one client span, and messages of SQS and SNS carry the ids in their attributes."""

from __future__ import annotations

from .. import aws
from ..outside import sealed
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("aiobotocore.client", "aiobotocore.httpsession", "aiobotocore.httpxsession")


def patch(module: ModuleType) -> None:
    if module.__name__ == "aiobotocore.client":
        wrap(module.AioBaseClient, "_make_api_call", aws.call)
    elif module.__name__ == "aiobotocore.httpsession":
        wrap(module.AIOHTTPSession, "send", sealed)
    else:
        wrap(module.HttpxSession, "send", sealed)
