"""Declarations of the project's apps: topics, message handlers, event handlers.

It is filled when ``session_topics.py`` of each app is imported. A declaration that cannot work is refused at that
moment, and not when a client connects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, is_typeddict

from session_mgmt.protocol.events import EVENT_TYPES, MESSAGE
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.protocol.patterns import TopicPattern, compile_pattern
from session_mgmt.protocol.typescript import is_annotation
from session_mgmt.user_code import ask, check_function

MessageHandler = Callable[[Any, Any], Any]
EventHandler = Callable[[Any], None]
ClaimHandler = Callable[..., Any]

# Larger than any sensible value, and small enough for the arithmetic of every database.
MOST_RETAIN: Final = timedelta(days=36_500)
MOST_ENTRIES: Final = 10**12
# How a reader that is behind continues: it reads everything from the log later; it reads the newest entry of each key;
# it continues from now; or its connection is closed.
REPLAY, LATEST, DROP_OLDEST, DISCONNECT = "replay", "latest", "drop_oldest", "disconnect"
WAYS = (REPLAY, LATEST, DROP_OLDEST, DISCONNECT)

# Age and number of the entries that a log of presence keeps. A client that was away for longer reads all members.
PRESENCE_RETAIN: Final = timedelta(hours=1)
PRESENCE_ENTRIES: Final = 1000
# Bounded, because one entry may have to carry all members that are shown.
MOST_GRACE: Final = timedelta(hours=1)
MOST_SHOWN: Final = 5000
MOST_DATA_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Presence options of a topic: who counts as a member, and what followers see of the members.

    ``member`` is called with the session and the pattern's parts, and returns the member's id, such as the key of the
    user: text or a number of at most 100 characters that everybody may see. Without it a session is a member, under an
    id that tells nothing else. ``may_see`` decides who may see the members, instead of the topic's own function. A
    member whose connections have all ended stays for ``grace``. With more than ``members_shown`` members, followers get
    only their number. ``data_bytes`` limits the data that a member publishes about itself.
    """

    member: Callable[..., Any] | None = None
    may_see: Callable[..., bool] | None = None
    grace: timedelta = timedelta(seconds=10)
    members_shown: int = 500
    data_bytes: int = 1000


class TopicEntry(NamedTuple):
    """Publication that ``allow_entry`` judges; ``offset`` is its place in the log, ``None`` if it is ephemeral."""

    topic: str
    data: Any
    offset: int | None


@dataclass(frozen=True, slots=True)
class Topic:
    """Declared pattern. ``may_follow`` and ``may_publish`` take the session and the pattern's parts.

    ``personal`` names the part that holds the key of the user whom the topic is about. ``data`` is the annotation of
    its publications. ``slow`` lists how a reader that is behind may continue, the default first; ``latest_by`` names
    the member of a publication that is its key. ``keys`` are the members by which readers may filter. ``snapshot``
    returns the value that publications change. ``allow_entry`` takes a reader's session and a ``TopicEntry``.
    ``reported`` holds the kinds of errors of its functions that were logged before.
    """

    pattern: TopicPattern
    may_follow: Callable[..., bool]
    may_publish: Callable[..., bool] | bool
    retain: timedelta | None
    entries: int | None
    recheck: timedelta | None = None
    personal: str | None = None
    data: Any = Any
    slow: tuple[str, ...] = (REPLAY,)
    latest_by: str | None = None
    keys: tuple[str, ...] = ()
    presence: Presence | None = None
    snapshot: Callable[..., Any] | None = None
    allow_entry: Callable[[Any, TopicEntry], bool] | None = None
    # True for the log of another topic's presence, to which only this app publishes.
    is_presence_log: bool = False
    reported: set[str] = field(default_factory=set, compare=False)

    def allows_follow(self, session: Any, parts: dict[str, Any]) -> bool:
        """Return whether the session may follow the topic with these parts."""
        return ask(self.may_follow, session, **parts)

    def allows_publish(self, session: Any, parts: dict[str, Any]) -> bool:
        """Return whether a client of the session may publish to the topic with these parts."""
        if callable(self.may_publish):
            return ask(self.may_publish, session, **parts)
        return self.may_publish

    def allows_entry(self, session: Any, entry: TopicEntry) -> bool:
        """Return whether a reader who may follow the topic may see this entry."""
        return self.allow_entry is None or ask(self.allow_entry, session, entry)


@dataclass(slots=True)
class Registry:
    """Declarations of one process."""

    topics: list[Topic] = field(default_factory=list)
    message_handlers: list[MessageHandler] = field(default_factory=list)
    durable: dict[str, list[EventHandler]] = field(default_factory=dict)
    transient: dict[str, list[EventHandler]] = field(default_factory=dict)
    claim_handlers: dict[str, ClaimHandler] = field(default_factory=dict)

    def find_topic(self, topic: str) -> tuple[Topic, dict[str, Any]] | None:
        """Return the first declared topic that matches, with its parts, or ``None``: nobody may follow it."""
        # In the order of declaration, so that an app can list exact patterns before general ones.
        is_presence_log = topic.startswith(PRESENCE)
        for declared in self.topics:
            # A general pattern must not match the presence of a topic that is declared without it.
            parts = declared.pattern.match_topic(topic) if declared.is_presence_log is is_presence_log else None
            if parts is not None:
                return declared, parts
        return None

    def find_presence(self, topic: str) -> tuple[Presence, dict[str, Any]] | None:
        """Return the presence options of this topic, with its parts, or ``None`` if it has no presence."""
        found = self.find_topic(topic)
        return None if found is None or found[0].presence is None else (found[0].presence, found[1])

    @property
    def presences(self) -> list[Presence]:
        """Return the declarations of presence."""
        return [declared.presence for declared in self.topics if declared.presence is not None]

    def find_nearest(self, topic: str) -> str | None:
        """Return the declared pattern that is most similar to a topic, for messages about misspelt topics."""
        near = get_close_matches(
            topic, [declared.pattern.text for declared in self.topics if not declared.is_presence_log], 1, cutoff=0.4
        )
        return near[0] if near else None

    def is_durable(self, type_: str) -> bool:
        """Return whether events of this type have a durable handler."""
        return bool(self.durable.get(type_) or self.durable.get("*"))

    def list_handlers(self, type_: str, *, durable: bool) -> list[EventHandler]:
        """Return the handlers of this type, then those of ``"*"``; each once, even if it was registered twice."""
        table = self.durable if durable else self.transient
        found: list[EventHandler] = []
        for handler in (*table.get(type_, ()), *table.get("*", ())):
            # Compared and not hashed: a handler may be any callable object, hashable or not.
            if handler not in found:
                found.append(handler)
        return found


registry = Registry()


def topic(
    pattern: str,
    *,
    publish: Callable[..., bool] | bool = False,
    retain: timedelta | None = None,
    entries: int | None = None,
    recheck: timedelta | None = None,
    personal: str | None = None,
    data: Any = Any,
    slow: str | Sequence[str] = REPLAY,
    latest_by: str | None = None,
    keys: Sequence[str] = (),
    presence: bool | Presence = False,
    snapshot: Callable[..., Any] | None = None,
    allow_entry: Callable[[Any, TopicEntry], bool] | None = None,
) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    """Declare a topic; the decorated function decides who may follow it.

    ``pattern`` is text with parts in braces, which are passed to the functions: ``{pk}`` matches any text without
    ``:``, and ``{pk:int}``, ``{pk:uuid}``, ``{name:slug}`` and ``{code:str}`` match text of that type. A function
    answers ``True`` or ``False``; any other answer, ``None`` too, denies. While a client follows the topic, the
    function is called again after ``recheck`` at the latest; the default is the setting ``topic_recheck``. ``personal``
    names the part that holds the key of the user whom the topic is about: its publications are exported and erased
    together with that user's data. ``data`` is the type of its publications, such as a ``TypedDict``, for ``manage.py
    session_types``; publications are not checked against it. ``slow`` says how a reader that is behind continues:
    ``replay`` (it reads everything later), ``latest`` (it reads the newest publication of each key; ``latest_by`` names
    the member that holds the key), ``drop_oldest`` (it continues from now, after a gap) or ``disconnect``. If several
    are listed, the first is the default, and a client may ask for any of them. ``keys`` names the members of a
    publication by which a reader may filter. ``presence`` (``True``, or ``Presence(...)``) lets clients enter the topic
    and see who is there. ``snapshot`` is called with the session and the pattern's parts, and returns the value that
    the publications change; all its reads see the database at one moment. ``allow_entry`` is called with a reader's
    session and a ``TopicEntry`` for each publication, and decides whether that reader receives it. Raises ``TypeError``
    or ``ValueError`` for a declaration that cannot work.
    """
    # Without parentheses the decorator is given the function itself.
    if not isinstance(pattern, str):
        raise TypeError("Write @topic with a pattern in parentheses, as in @topic('orders:{pk}').")
    compiled = compile_pattern(pattern)
    if pattern.startswith(PRESENCE):
        raise ValueError(f"{pattern!r}: {PRESENCE} is what the app names presence by; write presence=True instead.")
    _check_retention(pattern, retain, entries)
    # Refused here, because nothing else would show the mistake: the browser's types would just say `any`.
    if not is_annotation(data):
        raise TypeError(f"data of topic {pattern!r} is a type, such as a TypedDict or list[int], not {data!r}.")
    if personal is not None and personal not in compiled.types:
        raise ValueError(f"personal of topic {pattern!r} names one of its parts, which {personal!r} is not.")
    _check_recheck(pattern, recheck)
    ways, names = _read_ways(pattern, slow, latest_by, data), _read_keys(pattern, keys, data)
    if callable(publish):
        check_function(publish, f"publish of topic {pattern!r}", "session", **compiled.types)
    # A string or None would count as true or false, and so grant or deny a right by accident.
    elif not isinstance(publish, bool):
        raise TypeError(f"publish of topic {pattern!r} is a function, True or False, not {publish!r}.")

    if snapshot is not None:
        check_function(snapshot, f"snapshot of topic {pattern!r}", "session", **compiled.types)
    _check_allow_entry(pattern, allow_entry, ways)
    presence_options = _read_presence(pattern, presence, compiled.types)

    def declare(may_follow: Callable[..., bool]) -> Callable[..., bool]:
        check_function(may_follow, f"topic {pattern!r}", "session", **compiled.types)
        options = retain, entries, recheck, personal, data, ways, latest_by, names, presence_options, snapshot
        registry.topics.append(Topic(compiled, may_follow, publish, *options, allow_entry))
        if presence_options is not None:
            kept = PRESENCE_RETAIN, PRESENCE_ENTRIES, recheck, personal
            log = Topic(
                compile_pattern(PRESENCE + pattern),
                presence_options.may_see or may_follow,
                False,
                *kept,
                is_presence_log=True,
            )
            registry.topics.append(log)
        return may_follow

    return declare


def _check_retention(pattern: str, retain: Any, entries: Any) -> None:
    if retain is not None and not isinstance(retain, timedelta):
        raise TypeError(f"retain of topic {pattern!r} is a timedelta, not {retain!r}.")
    # Python treats True as 1, so the topic would keep a single entry.
    if entries is not None and (isinstance(entries, bool) or not isinstance(entries, int)):
        raise TypeError(f"entries of topic {pattern!r} is a whole number, not {entries!r}.")
    if (retain is not None and retain <= timedelta(0)) or (entries is not None and entries < 1):
        raise ValueError(f"Topic {pattern!r} would keep nothing: retain and entries are above 0.")
    if (retain is not None and retain > MOST_RETAIN) or (entries is not None and entries > MOST_ENTRIES):
        raise ValueError(f"Topic {pattern!r}: retain is at most {MOST_RETAIN.days} days, entries {MOST_ENTRIES}.")


def _read_ways(pattern: str, slow: Any, latest_by: Any, data: Any) -> tuple[str, ...]:
    ways = (slow,) if isinstance(slow, str) else tuple(slow) if isinstance(slow, list | tuple) else (slow,)
    if not ways or any(way not in WAYS for way in ways):
        raise ValueError(f"slow of topic {pattern!r} is one or several of {', '.join(WAYS)}, not {slow!r}.")
    # Without a key it is unknown which publication replaces which; a key that nothing uses is a mistake.
    if (LATEST in ways) != (latest_by is not None):
        raise ValueError(f"slow of topic {pattern!r}: latest needs latest_by, and only latest does.")
    if latest_by is not None and not (isinstance(latest_by, str) and latest_by):
        raise TypeError(f"latest_by of topic {pattern!r} is the name of a member, not {latest_by!r}.")
    if latest_by is not None:
        _check_member(f"latest_by of topic {pattern!r}", latest_by, data)
    return ways


def _check_allow_entry(pattern: str, allow_entry: Any, ways: tuple[str, ...]) -> None:
    if allow_entry is None:
        return
    check_function(allow_entry, f"allow_entry of topic {pattern!r}", "session", "entry")
    # Its readers read the log at their own pace, so none of them ever counts as behind.
    if ways != (REPLAY,):
        raise ValueError(f"slow of topic {pattern!r} can only be {REPLAY!r} with allow_entry.")


def _read_keys(pattern: str, keys: Any, data: Any) -> tuple[str, ...]:
    # A string is a sequence too, of its characters.
    if isinstance(keys, str):
        raise TypeError(f"keys of topic {pattern!r} is a list of names: write keys=({keys!r},).")
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) and key for key in keys):
        raise TypeError(f"keys of topic {pattern!r} is a list of names of members, not {keys!r}.")
    for at, key in enumerate(keys):
        if key in keys[:at]:
            raise ValueError(f"keys of topic {pattern!r} has {key!r} twice.")
        _check_member(f"keys of topic {pattern!r}", key, data)
    return tuple(keys)


def _check_member(role: str, name: str, data: Any) -> None:
    """Check that publications of this type have a member, if the type says which they have. Raises ``ValueError``."""
    if is_typeddict(data) and name not in data.__annotations__:
        near = get_close_matches(name, data.__annotations__, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(data.__annotations__)}."
        raise ValueError(f"{role}: {data.__name__} has no member {name!r}. {hint}")


def _read_presence(pattern: str, presence: Any, types: dict[str, str]) -> Presence | None:
    if presence is False or presence is True:
        return Presence() if presence else None
    if not isinstance(presence, Presence):
        raise TypeError(f"presence of topic {pattern!r} is True, False or Presence(...), not {presence!r}.")
    for name in ("member", "may_see"):
        if (function := getattr(presence, name)) is not None:
            check_function(function, f"{name} of presence of topic {pattern!r}", "session", **types)
    if not isinstance(presence.grace, timedelta):
        raise TypeError(f"grace of presence of topic {pattern!r} is a timedelta, not {presence.grace!r}.")
    if not timedelta(0) <= presence.grace <= MOST_GRACE:
        raise ValueError(f"grace of presence of topic {pattern!r} is from 0 to {MOST_GRACE.total_seconds():g} seconds.")
    for name, most in (("members_shown", MOST_SHOWN), ("data_bytes", MOST_DATA_BYTES)):
        value = getattr(presence, name)
        # Python treats True as 1.
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} of presence of topic {pattern!r} is a whole number, not {value!r}.")
        if not 0 <= value <= most:
            raise ValueError(f"{name} of presence of topic {pattern!r} is from 0 to {most}.")
    return presence


def _check_recheck(pattern: str, recheck: Any) -> None:
    if recheck is not None and not isinstance(recheck, timedelta):
        raise TypeError(f"recheck of topic {pattern!r} is a timedelta, not {recheck!r}.")
    if recheck is not None and not timedelta(seconds=1) <= recheck <= MOST_RETAIN:
        raise ValueError(f"Topic {pattern!r}: recheck is from 1 second to {MOST_RETAIN.days} days.")


def on_message(handler: MessageHandler) -> MessageHandler:
    """Register ``handler(session, data)`` to answer the messages that clients ``send``.

    Its return value is the answer. Its database effects are committed with the answer, exactly once. Raises
    ``TypeError`` for a declaration that cannot work.
    """
    check_function(handler, "@on_message", "session", "data")
    registry.message_handlers.append(handler)
    return handler


def on(type_: str, *, durable: bool = False) -> Callable[[EventHandler], EventHandler]:
    """Handle events of one type (``"*"``: all).

    A ``durable`` handler runs at least once, even if processes die. Others run after the commit, at most once.
    ``off(handler)`` removes the handler. Raises ``TypeError`` or ``ValueError`` for a declaration that cannot work.
    """
    # Without parentheses the decorator is given the function itself.
    if not isinstance(type_, str):
        raise TypeError("Write @on with a type in parentheses, as in @on('session_expired').")
    # Refused here, because a handler of a misspelt type would never be called, silently.
    if type_ not in (*EVENT_TYPES, MESSAGE, "*"):
        near = get_close_matches(type_, (*EVENT_TYPES, MESSAGE), 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"The types are {', '.join((*EVENT_TYPES, MESSAGE))}."
        raise ValueError(f"There is no event type {type_!r}. {hint}")
    if not isinstance(durable, bool):
        raise TypeError(f"durable of @on({type_!r}) is True or False, not {durable!r}.")

    def declare(handler: EventHandler) -> EventHandler:
        check_function(handler, f"@on({type_!r})", "event")
        table = registry.durable if durable else registry.transient
        table.setdefault(type_, []).append(handler)
        return handler

    return declare


def on_claim(document: str) -> Callable[[ClaimHandler], ClaimHandler]:
    """Merge a visitor's document of this name with that of the user who logs in; the function returns the result.

    It is called with both and the keyword ``user``; the user's document is ``None`` if there is none. It runs outside
    transactions, and runs again if one of the two changes in the meantime, so it must have no side effects. Raises
    ``TypeError`` or ``ValueError`` for a declaration that cannot work.
    """
    if not isinstance(document, str):
        raise TypeError("Write @on_claim with the name of a document in parentheses, as in @on_claim('cart').")
    if document in registry.claim_handlers:
        raise ValueError(f"There is an @on_claim for the document {document!r} already.")

    def declare(handler: ClaimHandler) -> ClaimHandler:
        check_function(handler, f"@on_claim({document!r})", "visitor", "users", user="user")
        registry.claim_handlers[document] = handler
        return handler

    return declare


def off(handler: EventHandler) -> None:
    """Remove a handler that ``on`` registered; do nothing if it is unknown."""
    for table in (registry.durable, registry.transient):
        for handlers in table.values():
            # In place, because other code holds a reference to the list.
            handlers[:] = [one for one in handlers if one != handler]
