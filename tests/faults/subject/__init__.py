"""What the kill test declares in the server under test: its topics and its message handler."""

# Said by the handler of a server that is told to hang (SESSION_MGMT_TEST_HANG).
HANGS = "The handler hangs."
