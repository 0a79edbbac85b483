"""Webhooks: send events of sessions to other services, at least once and in order."""
