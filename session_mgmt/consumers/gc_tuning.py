"""Garbage collector of a process that serves connections."""

from __future__ import annotations

import gc
from functools import lru_cache

_DEFAULT = (700, 10, 10)
# New objects, and how often they are looked through before older ones are. A look at 20,000 took 20 ms while a crowd
# came, whose objects stay, and one at 60,000 up to 75: these were nearly all long turns of the event loop. Portions of
# a fifth take no longer together in a storm, and 1.4 % of a write where many are in flight (measured).
_RARELY = (5_000, 1, 800)


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
