"""Demo: two clients of one session, with buttons that cut their network and kill their server."""
