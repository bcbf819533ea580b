"""The model port over the `anthropic` SDK.

Importing this imports no SDK: that happens when the first request leaves.
"""

from detent.model.sdk import SdkModel
from detent.model.sse import Limits

__all__ = ["Limits", "SdkModel"]
