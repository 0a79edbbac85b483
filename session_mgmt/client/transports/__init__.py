"""Carriers of frames: a WebSocket, HTTP calls, and the choice between them."""
