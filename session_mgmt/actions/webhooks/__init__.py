"""Webhooks: events of sessions for addresses of other services, at least once and in order."""
