"""Live connections. ``websocket`` moves bytes, ``connection`` knows no transport, ``hub`` assembles everything that
this process serves.
"""
