"""The crossing from async code to the ORM, and the lane that writes in groups.

``await bridge().read(verb, …)`` and ``await bridge().call(verb, …)`` run a sync verb on a bounded pool;
``bridge().write(…)`` is the writer lane's sync face and ``bridge().submit(…)`` its async one.
"""

from session_mgmt.backends.rings import RemoteListener
from session_mgmt.bridge.crossing import Bridge, bridge

__all__ = ["Bridge", "RemoteListener", "bridge"]
