"""Crossing from async code to the ORM, and the lane that writes in groups.

``await bridge().read(verb, …)`` and ``await bridge().call(verb, …)`` run a sync function in a limited pool of threads.
``bridge().write(…)`` writes through the lane from sync code, ``bridge().submit(…)`` from async code.
"""

from session_mgmt.backends.rings import RemoteListener
from session_mgmt.bridge.crossing import Bridge, bridge

__all__ = ["Bridge", "RemoteListener", "bridge"]
