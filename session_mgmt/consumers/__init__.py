"""Live connections: bytes in, bytes out. ``connection`` knows no transport; ``hub`` holds what this process serves;
``websocket`` moves bytes.
"""
