"""Rules of the protocol as plain values: positions, recovery, frames, codes. No Django, no clock, no network."""
