"""Live connections. ``websocket`` moves bytes, ``connection`` knows no transport, ``hub`` puts together all that this
process serves.
"""
