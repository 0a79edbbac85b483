"""Render an outline as nested, foldable lists. Content of documents is always escaped as text."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.utils.formats import number_format
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from session_mgmt.documents import legible, pointer
from session_mgmt.documents.outline import Node, NodePlace

_OPEN_LEVELS = 2
# A longer text would push everything after it out of sight.
_OPEN_MEMBERS = 30
_TITLE = 200


@dataclass(frozen=True, slots=True)
class Look:
    """Options of the rendering. ``link`` returns the URL of a place, starting at a given member; ``marks`` are the
    pointers to highlight, whose ancestors are unfolded.
    """

    link: Callable[[NodePlace, int], str]
    marks: Collection[str] = ()
    opens_all: bool = False
    above: frozenset[str] = field(default=frozenset())

    @classmethod
    def with_marks(cls, link: Callable[[NodePlace, int], str], marks: Collection[str]) -> Look:
        above = frozenset(above for path in marks for above in pointer.iter_ancestors(path))
        return cls(link, frozenset(marks), above=above)


def place_link(address: str, version: int, place: NodePlace, skip: int) -> str:
    """Return the address of a place in a version."""
    query = {"version": str(version)}
    if place:
        query["at"] = ".".join(map(str, place))
    if skip:
        query["skip"] = str(skip)
    return f"{address}?{urlencode(query)}"


def render_tree(root: Node, look: Look) -> SafeString:
    """Render a node and the part of its outline below it."""
    inside = _render_members(root, look, 1) if root.is_container else _render_leaf(root, look)
    kind = "ul" if root.is_container else "div"
    # Safe, because every key and every value below was escaped.
    return mark_safe(f'<{kind} class="sm-tree">{inside}</{kind}>')


def _render_members(node: Node, look: Look, depth: int) -> str:
    lines = [_render_item(child, look, depth) for child in node.children]
    if node.skipped:
        text = ngettext("%d before", "%d before", node.skipped) % node.skipped
        lines.insert(0, _render_rest(look.link(node.place, max(node.skipped - 100, 0)), f"… {text}"))
    if node.hidden_count > 0 and node.children:
        text = ngettext("%d more", "%d more", node.hidden_count) % node.hidden_count
        lines.append(_render_rest(look.link(node.place, node.skipped + len(node.children)), f"… {text}"))
    if not node.length:
        lines.append(f'<li class="sm-quiet">{escape(_("empty"))}</li>')
    return "".join(lines)


def _render_item(node: Node, look: Look, depth: int) -> str:
    mark = ' class="sm-mark"' if node.path in look.marks else ""
    # Keys come from clients. Escape them for HTML, and show invisible characters, so that no key looks like another.
    title = escape(legible.show_plainly(node.path, _TITLE).text)
    if not node.is_container:
        return f'<li{mark} title="{title}">{_render_name(node)} {_render_leaf(node, look)}</li>'
    head = f"{_render_name(node)} {_count_members(node)}"
    if not node.length:
        return f'<li{mark} title="{title}">{head}</li>'
    if not node.children:
        return f'<li{mark} title="{title}">{head} {_render_link(look.link(node.place, 0), _("look inside"))}</li>'
    is_short = depth < _OPEN_LEVELS and node.length <= _OPEN_MEMBERS
    is_open = look.opens_all or is_short or node.path in look.above or node.path in look.marks
    inside = _render_members(node, look, depth + 1)
    return (
        f'<li{mark}><details{" open" if is_open else ""}><summary title="{title}">{head}</summary>'
        f"<ul>{inside}</ul></details></li>"
    )


def _render_name(node: Node) -> str:
    kind = "sm-index" if isinstance(node.name, int) else "sm-key"
    # Isolated, so that text which runs from right to left cannot rearrange its neighbours.
    return f'<span class="{kind}"><bdi>{escape(node.name)}</bdi></span>'


def _count_members(node: Node) -> str:
    shown = f"[{node.length}]" if node.kind == "array" else f"{{{node.length}}}"
    return f'<span class="sm-count">{shown}</span>'


def _render_leaf(node: Node, look: Look) -> str:
    text = f'<bdi class="sm-v sm-{node.kind}">{escape(node.text)}</bdi>'
    if not node.is_cut:
        return text
    note = _("cut, %s characters") % number_format(node.length, force_grouping=True)
    return f'{text}<span class="sm-count">…</span> {_render_link(look.link(node.place, 0), note)}'


def _render_rest(address: str, text: str) -> str:
    return f'<li class="sm-rest">{_render_link(address, text)}</li>'


def _render_link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>'
