"""Stores that may be lost: doorbells between processes."""

from session_mgmt.backends.doorbell import Doorbell, doorbell

__all__ = ["Doorbell", "doorbell"]
