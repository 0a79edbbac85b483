"""Documents: accept updates from the log alone, and read what the log adds up to."""
