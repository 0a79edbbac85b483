"""Pages of lists that stay true: a pagination class of REST framework, and a mixin for exact views.

``from session_mgmt.pagination import LiveCursorPagination, LivePages``.
"""

from session_mgmt.pagination.paginator import LiveCursorPagination
from session_mgmt.pagination.views import LivePages

__all__ = ["LiveCursorPagination", "LivePages"]
