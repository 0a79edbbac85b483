"""The rules of the wire as plain values: positions, recovery, frames, codes. No Django, no clock, no network."""
