"""The model port over the `anthropic` SDK.

Importing this imports no SDK: that happens when the first request leaves.
"""

from turnlatch.sdk.sdk_model import SdkModel
from turnlatch.sdk.sse import ReplyLimits

__all__ = ["ReplyLimits", "SdkModel"]
