"""System checks: find mistakes in settings at start, and explain them."""

from collections.abc import Iterator

from django.core.checks import ERROR, CheckMessage

from session_mgmt.checks.databases import check_database, check_engine, check_page_cache, check_postgres, check_sqlite
from session_mgmt.checks.declarations import check_message_handler, check_topics
from session_mgmt.checks.documents import check_documents, check_keys_in_use, check_state_keys
from session_mgmt.checks.people import check_claims, check_cookie_mode, check_hooks, check_user_standing
from session_mgmt.checks.serving import (
    check_addresses,
    check_channel_layer,
    check_cleanup_schedule,
    check_control_interval,
    check_deploy,
    check_development_server,
    check_doorbell,
    check_doorbell_is_heard,
    check_login_middleware,
    check_schema_page,
    check_throttle_classes,
)
from session_mgmt.checks.values import check_name_of_settings, check_settings, check_webhooks
from session_mgmt.publishing.checks import check_publishers

__all__ = [
    "check_addresses",
    "check_channel_layer",
    "check_claims",
    "check_cleanup_schedule",
    "check_control_interval",
    "check_cookie_mode",
    "check_database",
    "check_deploy",
    "check_development_server",
    "check_documents",
    "check_doorbell",
    "check_doorbell_is_heard",
    "check_engine",
    "check_hooks",
    "check_keys_in_use",
    "check_login_middleware",
    "check_message_handler",
    "check_name_of_settings",
    "check_page_cache",
    "check_postgres",
    "check_schema_page",
    "check_settings",
    "check_sqlite",
    "check_state_keys",
    "check_throttle_classes",
    "check_topics",
    "check_user_standing",
    "check_webhooks",
    "list_mistakes",
]

# Those that tell errors, and that ask no database.
_NEEDED = (
    check_database,
    check_engine,
    check_topics,
    check_publishers,
    check_schema_page,
    check_channel_layer,
    check_settings,
    check_documents,
    check_state_keys,
    check_hooks,
    check_user_standing,
    check_claims,
    check_cookie_mode,
    check_throttle_classes,
    check_doorbell,
    check_webhooks,
)


def list_mistakes() -> Iterator[CheckMessage]:
    """Return the errors of this project, for a server that runs no checks of Django's; warnings are left to those."""
    for check in _NEEDED:
        yield from (found for found in check() if found.level >= ERROR and not found.is_silenced())
