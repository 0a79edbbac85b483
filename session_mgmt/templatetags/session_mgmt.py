"""``{% load session_mgmt %}``: tags for the head of a page with the browser client."""

from __future__ import annotations

from django import template
from django.templatetags.static import PrefixNode
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from session_mgmt import __version__

register = template.Library()

# Files that every start of the client loads and waits for.
_PARTS = ("content", "outboxes")


@register.simple_tag
def session_preload() -> SafeString:
    """Return links that make the browser load the client's other files at the same time as the client.

    Their names carry no hash of a static file storage, because the client imports them by their names in the package.
    """
    prefix = PrefixNode.handle_simple("STATIC_URL")
    names = ((f"{prefix}session_mgmt/session-client.{part}-{__version__}.js",) for part in _PARTS)
    return format_html_join("\n", '<link rel="modulepreload" href="{}">', names)
