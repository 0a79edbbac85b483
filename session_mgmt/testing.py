"""Tools for your own tests: no threads, no waiting, everything inside your test's transaction.

    from session_mgmt.testing import inline_bridge

    class CartTest(TestCase):
        def test_coupon(self):
            with inline_bridge() as bridge:
                session = create_session().session
                state.update(session, {"cart": {"coupon": "WELCOME"}})
                with transaction.atomic():
                    publish("orders:1", {"status": "paid"})
                bridge.drain()                       # as after a commit

Works in ``TestCase``, ``TransactionTestCase`` and pytest, sync and async.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from session_mgmt.bridge import Bridge, bridge

__all__ = ["inline_bridge"]


@contextmanager
def inline_bridge() -> Iterator[Bridge]:
    """Run every read and write of the app on the calling thread, inside the test's open transaction.

    Writes outside your own ``atomic()`` blocks are carried out at once; those inside wait in the outbox for
    ``drain()``.
    """
    here = bridge()
    here.run_inline(True)
    try:
        yield here
    finally:
        here.run_inline(False)
