"""State that may be lost: notifications between processes ("doorbells"), and the budgets of rate limits."""

from session_mgmt.backends.doorbell import Doorbell, doorbell

__all__ = ["Doorbell", "doorbell"]
