"""Complete writes for synchronous callers: through the outbox inside a transaction, through the lane outside."""
