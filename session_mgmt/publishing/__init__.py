"""Models that publish their changes: ``@publishes``, and the manager that bulk operations need."""

from session_mgmt.publishing.declaring import publishes
from session_mgmt.publishing.managers import PublishingManager, PublishingQuerySet
from session_mgmt.publishing.publisher import Publisher, get_publisher

__all__ = ["Publisher", "PublishingManager", "PublishingQuerySet", "get_publisher", "publishes"]
