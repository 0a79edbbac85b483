"""Live connections. ``websocket`` receives and sends bytes, ``connection`` does not depend on the transport, and
``hub`` holds everything that this process serves.
"""
