"""The model port over the `anthropic` SDK.

Importing this imports no SDK: that happens when the first request leaves.
"""

from turnlatch.model.sdk import SdkModel
from turnlatch.model.sse import Limits

__all__ = ["Limits", "SdkModel"]
