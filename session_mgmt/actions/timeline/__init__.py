"""Log of a session: its events and messages, and their handlers."""
