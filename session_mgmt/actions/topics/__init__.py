"""Topics: publish, follow and trim their logs."""
