"""Documents: accept updates from their logs alone, and read documents from snapshots and revisions."""
