"""Garbage collector of a process that serves connections."""

from __future__ import annotations

import gc
from functools import lru_cache

_DEFAULT = (700, 10, 10)
# Number of new objects before a collection, and how many collections precede one of older objects. With 20,000 objects
# a collection took 20 ms while many clients connected, whose objects stay, and with 60,000 up to 75 ms; nearly all long
# turns of the event loop were collections. Portions of 2,000 take 0.4 ms each in a storm (1.4 with 5,000), and no
# longer in total (measured).
_RARELY = (2_000, 1, 2_000)


@lru_cache(maxsize=1)
def freeze_loaded_objects() -> None:
    """Take everything loaded so far out of the collector's sight, once per process, and let it look less often.

    A write makes some thirty objects and no cycle; with Python's defaults a fifth of the time went into looking for
    cycles among them (measured). Thresholds that the project has set stay.
    """
    gc.collect()
    gc.freeze()
    if gc.get_threshold() == _DEFAULT:
        gc.set_threshold(*_RARELY)
