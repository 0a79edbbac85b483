"""What the kill test declares in the server under test: its topics and its message handler."""
