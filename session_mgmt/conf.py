"""Typed settings, from the one dict ``SESSION_MGMT`` of the project.

Read them late (``conf.settings().heartbeat_interval``): they are rebuilt when Django's ``setting_changed`` fires. A
test compares ``docs/reference/settings.md`` with this table, and ``checks`` reports unknown names and
contradictions at start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeAlias

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.dispatch import receiver

NAME = "SESSION_MGMT"
ADDRESS_FORMS = ("full", "truncated", "hashed")
# Longest idle and absolute timeouts of NIST SP 800-63B by level; at AAL1 the idle timeout may be as long as the
# absolute one.
ASSURANCE = {
    "AAL1": (timedelta(days=30), timedelta(days=30)),
    "AAL2": (timedelta(hours=1), timedelta(hours=24)),
    "AAL3": (timedelta(minutes=15), timedelta(hours=12)),
}
CHANGE_POLICIES = ("ignore", "audit", "reauth")
TOKEN_MODES = ("bearer", "cookie")
SESSION_LIMIT_POLICIES = ("reject", "evict_oldest", "evict_idle")
ON_LOGIN = ("claim", "fresh", "ask")
ON_LOGOUT = ("end", "anonymous")
# A function of the project, or its dotted path.
Hook: TypeAlias = Callable[..., Any] | str | None


def _setting(default: Any, reason: str, *, secret: bool = False) -> Any:
    facts: dict[str, Any] = {"metadata": {"reason": reason}, "repr": not secret}
    # A dataclass takes no mutable default; this one is never changed.
    is_dict = isinstance(default, dict)
    return field(default_factory=lambda: default, **facts) if is_dict else field(default=default, **facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings with their defaults, each with its ``reason``; times are ``timedelta`` or seconds, sizes are bytes."""

    database: str = _setting(
        "default", "Alias of the session tables' database. The outbox works only in its transactions."
    )
    anonymous_sessions: bool = _setting(
        False, "Allow sessions without a user. They let anyone fill a disk (ASVS 7.6.2)."
    )
    on_login: str = _setting("claim", "What happens to a visitor's session at a login: claim, fresh or ask.")
    claim_within: timedelta = _setting(
        timedelta(hours=24), "A visitor's session can be claimed for this long after its last activity."
    )
    may_claim: Hook = _setting(
        None, "Function of session, user and request: returns whether to claim. None always claims."
    )
    on_logout: str = _setting("end", "end, or anonymous: the tabs enter again and get a new, empty session.")
    idle_timeout: timedelta = _setting(
        timedelta(hours=24), "A session ends after this time without activity; at least 60 s."
    )
    reading_is_activity: bool = _setting(
        False, "Count an open connection as activity. Otherwise only writes count, even on an open page."
    )
    absolute_timeout: timedelta = _setting(
        timedelta(days=30), "A session ends at this age (NIST 63B AAL1); at least 60 s."
    )
    assurance: str = _setting(
        "AAL1", "AAL1, AAL2 or AAL3 of NIST SP 800-63B. A check reports timeouts above those of the level."
    )
    access_lifetime: timedelta = _setting(
        timedelta(minutes=15),
        "Lifetime of an access token, 10% more or less, so that clients refresh at different times.",
    )
    follow_login: bool = _setting(
        True, "A session from a browser's login must prove that login again. A logout always ends it."
    )
    login_check_interval: timedelta = _setting(
        timedelta(hours=1), "A browser proves its login this often: a Django session may end without a signal."
    )
    refresh_grace: timedelta = _setting(
        timedelta(seconds=30), "A used refresh token is answered again for this long: tabs race, and answers get lost."
    )
    user_standing: dict[str, Any] = _setting(
        {"is_active": True},
        "Filter of the user model. A session ends within control_interval if its user does not match.",
    )
    topic_recheck: timedelta = _setting(
        timedelta(minutes=5),
        "Permission for a followed topic is asked this often: rights change without a signal.",
    )
    scopes_for: Hook = _setting(
        None, "Function of request and user (or None): returns the scopes of a new session. None sets no limit."
    )
    tenant_of: Hook = _setting(
        None, "Function of a request: returns the name of its tenant. No list or call crosses tenants."
    )
    auth_time_of: Hook = _setting(
        None, "Function of a request without a Django session: returns when its user logged in, or None."
    )
    impersonator_of: Hook = _setting(
        None, "Function of a request: returns who acts for its user, or None. Not needed with django-hijack."
    )
    token_mode: str = _setting(
        "bearer", "How a page keeps its tokens: bearer (in its storage) or cookie (no script can read it)."
    )
    token_keys: tuple[str, ...] = _setting(
        (), "Secrets from which tokens are derived; the first one for new tokens. Without any, SECRET_KEY.", secret=True
    )
    retention: timedelta = _setting(timedelta(days=30), "An ended session is kept for this long, and can be recovered.")
    max_sessions_per_user: int = _setting(50, "Enough for ten devices.")
    session_limit_policy: str = _setting(
        "evict_idle", "If a user has too many sessions: reject, evict_oldest or evict_idle."
    )

    drain_spread: float = _setting(5.0, "Seconds over which the clients of a stopping server reconnect.")
    heartbeat_interval: float = _setting(25.0, "Seconds. Home routers drop a silent connection after 30 to 60 s.")
    heartbeat_missed_limit: int = _setting(3, "Missed beats in a row that close a connection.")
    interval_range: tuple[float, ...] = _setting(
        (2.0, 55.0), "Shortest and longest heartbeat interval, in seconds, that a client may ask for."
    )
    missed_limit_range: tuple[int, ...] = _setting(
        (2, 10), "Lowest and highest limit of missed beats that a client may ask for."
    )
    batch_range: tuple[float, ...] = _setting(
        (0.0, 1.0), "Shortest and longest time, in seconds, that a client may have its frames gathered."
    )
    lease_flush_interval: float = _setting(
        10.0, "Seconds. One UPDATE covers all connections, instead of one for each beat."
    )
    lease_duration: timedelta = _setting(
        timedelta(seconds=90), "Three missed beats and a flush; then a connection counts as lost."
    )
    max_held: int = _setting(4000, "Polls and streams that one process holds. Further clients are asked to come later.")
    wsgi_hold: float = _setting(0.0, "Seconds that a WSGI server holds a poll, in a thread of its own. 0 holds none.")
    doorbell_database: str = _setting(
        "",
        "Alias of a PostgreSQL database, without a pooler, for notifications between processes. Without one, they"
        " use the channel layer, if it is a shared one.",
    )
    position_check_interval: float = _setting(5.0, "Seconds. A message with a lost notification is this late at most.")
    control_interval: float = _setting(
        3.0, "Seconds. A revoked session is noticed this soon, even without a notification."
    )
    connect_timeout: float = _setting(10.0, "Seconds. A socket that sends nothing holds memory.")
    drain_interval: float = _setting(1.0, "Seconds. The outbox is checked this often, even without a notification.")

    reconnect_initial: float = _setting(0.5, "Seconds; limit of the first delay.")
    reconnect_maximum: float = _setting(20.0, "Seconds; limit of each delay.")
    reconnect_factor: float = _setting(2.0, "The limit grows by it at each attempt.")
    reconnect_attempts: int = _setting(0, "0 sets no limit.")

    max_frame_bytes: int = _setting(256 * 1024, "Whole documents go over HTTP; a patch is small.")
    max_document_bytes: int = _setting(5 * 1024 * 1024, "Enough for a form or a board. Store larger content in files.")
    max_depth: int = _setting(64, "Nesting of a document. orjson writes at most 254 levels.")
    max_keys: int = _setting(100_000, "Keys of one document in total.")
    max_key_bytes: int = _setting(1024, "")
    max_string_bytes: int = _setting(1024 * 1024, "")
    max_ops: int = _setting(500, "Operations of one update.")
    max_documents: int = _setting(16, "Documents of one session.")
    max_subscriptions: int = _setting(100, "Topics that one session follows.")
    max_clients: int = _setting(100, "Clients of one session. A new one replaces the one that was away longest.")
    max_connections_per_user: int = _setting(50, "Live connections of one user.")
    max_connections_per_session: int = _setting(50, "Live connections of one session. Each tab has one.")
    max_sockets_per_address: int = _setting(
        1000, "Sockets of one IP address in each process. 0 sets no limit. A proxy is one address."
    )
    max_publication_bytes: int = _setting(64 * 1024, "Every subscriber receives a publication.")
    max_metadata_bytes: int = _setting(16 * 1024, "Metadata and config are read with each session.")
    max_outbound_bytes: int = _setting(
        1024 * 1024, "Waiting data of one slow client. The rest is read from the log later."
    )
    max_requests_per_second: float = _setting(
        50.0,
        "Sustained requests of one token and of one user in each process, over HTTP and at connect. An IP address"
        " may send 40 times as many. A burst of ten seconds is allowed. Failures cost more. 0 sets no limit.",
    )
    schema_page: bool = _setting(False, "Serve Swagger UI at schema/page/. It needs drf-spectacular-sidecar.")
    throttle_classes: tuple[str, ...] = _setting((), "Dotted paths of further REST framework throttles.")
    max_frames_per_second: float = _setting(
        200.0, "Sustained frames of one connection. A burst of five seconds is allowed."
    )

    documents: dict[str, dict[str, Any]] = _setting(
        {}, "By name: strategy, arrays, on_conflict and claim. Others are merged, with each array as one value."
    )
    max_conflicts: int = _setting(100, "Open conflicts of one document under manual. Above it an update is refused.")
    max_conflict_bytes: int = _setting(1024 * 1024, "Values of these conflicts in total.")
    compression_threshold: int = _setting(10 * 1024, "Smaller documents are stored uncompressed.")
    snapshot_every: int = _setting(
        64,
        "Least number of revisions between snapshots. Large documents have more, while reads cost at most 25% more.",
    )
    max_revisions: int = _setting(2000, "Revisions in one document's log. A client further behind gets a snapshot.")
    max_log_bytes: int = _setting(10 * 1024 * 1024, "Operations in one document's log: twice max_document_bytes.")
    log_retention: timedelta = _setting(
        timedelta(hours=24), "Older revisions are deleted, some a little later. Labelled checkpoints stay."
    )
    max_checkpoints: int = _setting(20, "Labelled checkpoints of one document. Each is a whole copy.")
    head_cache_bytes: int = _setting(64 * 1024 * 1024, "Decoded documents that each process caches. 0 caches none.")
    state_keys: tuple[tuple[str, str], ...] = _setting(
        (), "Pairs of key id and 32 bytes in base64. The first one encrypts, and all decrypt.", secret=True
    )
    encrypt_state: bool | tuple[str, ...] = _setting(
        False, "True, or the names of the documents to encrypt. A dump shows the others."
    )
    require_encryption: bool = _setting(
        False, "Refuse plain rows that must be encrypted. Convert all with rotate_state_keys first."
    )
    encode_values: bool = _setting(True, "Encode Decimal, dates, times, UUID and dataclasses from Python as text.")
    replay_page: int = _setting(200, "Entries that one query reads from a log.")
    replay_page_bytes: int = _setting(
        256 * 1024, "Bytes of one read from a log, and of one frame with its entries. A single entry may be larger."
    )
    replay_most: int = _setting(10_000, "Entries that one recovery sends. Beyond it a client gets a snapshot or a gap.")
    stream_retention: timedelta = _setting(timedelta(hours=24), "Default for topics that declare none.")
    event_retention: timedelta = _setting(
        timedelta(days=7), "Entries of a session's log, and closed connections, are kept for this long."
    )
    event_entries: int = _setting(10_000, "Entries in a session's log.")
    stream_entries: int = _setting(10_000, "Default for topics that declare none.")

    lane_queue: int = _setting(10_000, "Waiting writes. Above it a write is refused as busy.")
    lane_batch: int = _setting(256, "Writes in one transaction.")
    read_threads: int = _setting(4, "Threads of one process that read. Each has a database connection.")
    heavy_seconds: float = _setting(10.0, "Work on one document in the worker process. Longer work is killed.")
    handler_threads: int = _setting(4, "Threads of one process for the project's own functions, which may be slow.")
    cleanup_interval: timedelta = _setting(
        timedelta(minutes=5),
        "An expired session ends at most this late. Start the cleanup as often, with beat_schedule() or cron.",
    )
    cleanup_chunk: int = _setting(
        1000, "Most rows in one transaction of the cleanup, which takes as many as fit into 15 ms."
    )
    audit_retention: timedelta = _setting(
        timedelta(days=365), "Entries of the audit trail are kept for this long. Most rules ask for a year."
    )
    stored_addresses: str = _setting(
        "full",
        "How IP addresses are stored and logged: full, truncated (IPv4 to 24 bits, IPv6 to 48) or hashed (a keyed"
        " pseudonym in fd00::/8).",
    )
    trusted_proxies: int = _setting(
        0, "Your own proxies in front, each of which adds to X-Forwarded-For. 0 ignores the header."
    )
    max_anonymous_per_address: int = _setting(
        100, "Anonymous sessions that one IP address may create per hour and process. 0 sets no limit."
    )
    device_change: str = _setting(
        "audit",
        "ignore, audit or reauth, if a session comes from another browser or system, as with a copied token. With"
        " reauth its login is no longer recent, and a refresh must go through enter.",
    )
    address_change: str = _setting(
        "ignore", "The same for another network. People travel: audit makes many entries, reauth many logins."
    )
    place_of: Hook = _setting(None, "Function of a session: returns its place as text for people.")
    webhooks: bool = _setting(
        False, "Send events to endpoints. The project decides whether its server calls other addresses."
    )
    webhook_http: bool = _setting(False, "Allow endpoints at http://, where anyone on the way can read.")
    webhook_networks: tuple[str, ...] = _setting(
        (), "Your own networks, as 10.1.0.0/16, for endpoints. Other private addresses are never called."
    )
    webhook_timeout: float = _setting(10.0, "Seconds for one call, from the connection to the answer's status.")
    webhook_life: timedelta = _setting(
        timedelta(hours=24), "A delivery is tried for this long. Then it is given up, and the next one follows."
    )
    webhook_rotation: timedelta = _setting(
        timedelta(hours=24), "After a rotation an endpoint's old secret signs for this long as well."
    )
    webhook_retention: timedelta = _setting(timedelta(days=7), "Finished deliveries are kept for this long.")
    allowed_origins: tuple[str, ...] = _setting(
        (),
        "Other origins than the host's own that may open a WebSocket. In cookie mode, list them in"
        " CSRF_TRUSTED_ORIGINS too.",
    )
    websocket_path: str = _setting("/ws/session/", "Path of the WebSocket, as clients receive it.")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the current settings. Wrong values are not refused here: the system checks report them."""
    given = getattr(django_settings, NAME, {})
    known = {f.name for f in fields(Settings)}
    # The system check reports the mistake; code that reads a setting earlier must not fail with another error.
    if not isinstance(given, dict):
        return Settings()
    return Settings(**{str(name).lower(): value for name, value in given.items() if str(name).lower() in known})


@receiver(setting_changed)
def _reload_settings(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        settings.cache_clear()
