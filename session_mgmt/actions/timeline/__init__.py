"""Log of a session: its events and messages, and the handlers of the application."""
