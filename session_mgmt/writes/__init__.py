"""Complete write verbs for synchronous callers: the outbox inside a transaction, the lane outside."""
