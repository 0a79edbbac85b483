"""The only place where async meets the ORM, and where writes wait for each other.

``await bridge().read(verb, …)`` and ``await bridge().call(verb, …)`` run a sync verb on a bounded pool;
``bridge().write(member)`` is the writer lane's sync face and ``bridge().submit(…)`` its async one.
"""

from session_mgmt.bridge.crossing import Bridge, bridge

__all__ = ["Bridge", "bridge"]
