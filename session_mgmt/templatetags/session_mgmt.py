"""``{% load session_mgmt %}``: what a page with the browser client has in its head."""

from __future__ import annotations

from django import template
from django.templatetags.static import PrefixNode
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from session_mgmt import __version__

register = template.Library()

# What each start loads, and waits for.
_PARTS = ("content", "outboxes")


@register.simple_tag
def session_preload() -> SafeString:
    """Return the links by which a browser loads the files of each start together with the client.

    They have no hash of a static file storage: the client asks for them by the names that they have in the package.
    """
    prefix = PrefixNode.handle_simple("STATIC_URL")
    names = ((f"{prefix}session_mgmt/session-client.{part}-{__version__}.js",) for part in _PARTS)
    return format_html_join("\n", '<link rel="modulepreload" href="{}">', names)
