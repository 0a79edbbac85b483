"""App configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class SessionMgmtConfig(AppConfig):
    name = "session_mgmt"
    label = "session_mgmt"
    verbose_name = _("Client sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from session_mgmt import checks, deploy_checks  # noqa: F401 - they register themselves; models must be loaded first
        from session_mgmt.actions.sessions.deletion import watch_deletions
        from session_mgmt.actions.sessions.logins import watch_logins
        from session_mgmt.actions.sessions.user_changes import watch_users
        from session_mgmt.pagination import checks as pagination_checks  # noqa: F401 - it registers itself
        from session_mgmt.publishing import checks as publishing_checks  # noqa: F401 - it registers itself

        watch_deletions()
        watch_logins()
        watch_users()
        # Only here: the declarations of the project's apps import models, which are all loaded by now.
        autodiscover_modules("session_topics")
