"""Documents: accept updates from the log alone, and read the sum of the log."""
