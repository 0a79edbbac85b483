"""Carriers of frames: a WebSocket, calls over HTTP, and the choice between them."""
