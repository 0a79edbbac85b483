"""Pages of lists that match their live changes: a pagination class for REST framework, and a mixin for exact views.

``from session_mgmt.pagination import LiveCursorPagination, LivePages``.
"""

from session_mgmt.pagination.paginator import LiveCursorPagination
from session_mgmt.pagination.views import LivePages

__all__ = ["LiveCursorPagination", "LivePages"]
