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

    database: str = _setting("default", "Alias of the session tables; the outbox works only inside its transactions.")
    anonymous_sessions: bool = _setting(False, "Rows that anyone can make are a way to fill a disk (ASVS 7.6.2).")
    on_login: str = _setting("claim", "What happens to a visitor's session when its user logs in: claim, fresh or ask.")
    claim_within: timedelta = _setting(
        timedelta(hours=24), "Since its last activity a visitor's session can be claimed; an older one is forgotten."
    )
    may_claim: Hook = _setting(
        None, "Called with session, user and request: whether this claim is allowed; None allows all."
    )
    on_logout: str = _setting("end", "end, or anonymous: its tabs enter again and get a new, empty session.")
    idle_timeout: timedelta = _setting(timedelta(hours=24), "A working day and a night; at least 60 s.")
    reading_is_activity: bool = _setting(
        False, "Whether an open connection keeps its session from idling; off, a forgotten page ends as others do."
    )
    absolute_timeout: timedelta = _setting(timedelta(days=30), "NIST 63B AAL1; at least 60 s.")
    assurance: str = _setting(
        "AAL1", "AAL1, AAL2 or AAL3 of NIST SP 800-63B; a check reports timeouts longer than the level allows."
    )
    access_lifetime: timedelta = _setting(
        timedelta(minutes=15), "Of an access token, a tenth more or less so that clients do not all refresh at once."
    )
    follow_login: bool = _setting(
        True, "Whether a session that came from a browser's login must prove it again; its logout counts anyway."
    )
    login_check_interval: timedelta = _setting(
        timedelta(hours=1), "In which a browser proves its login again: a Django session may end without a signal."
    )
    refresh_grace: timedelta = _setting(
        timedelta(seconds=30), "For which a used refresh token is answered again: two tabs may race, answers are lost."
    )
    user_standing: dict[str, Any] = _setting(
        {"is_active": True}, "Filter of the user model: sessions of users who do not fit end within a control round."
    )
    topic_recheck: timedelta = _setting(
        timedelta(minutes=5),
        "In which a topic that is followed is asked about again: rights can change without a signal.",
    )
    scopes_for: Hook = _setting(
        None, "Called with a request and its user or None: the scopes of a new session; None is without limits."
    )
    tenant_of: Hook = _setting(None, "Called with a request: the tenant's name, which no list and no call crosses.")
    auth_time_of: Hook = _setting(
        None, "Called with a request whose login is no Django session: when its user has logged in, None if unknown."
    )
    impersonator_of: Hook = _setting(
        None, "Called with a request: who acts for its user, or None. django-hijack is known without it."
    )
    token_mode: str = _setting(
        "bearer", "How pages keep their proof: bearer (pairs, in their storage) or cookie (no script can read it)."
    )
    token_keys: tuple[str, ...] = _setting(
        (), "Secrets of which tokens are derived, the first one for new tokens; none is SECRET_KEY.", secret=True
    )
    retention: timedelta = _setting(timedelta(days=30), "Time for which an ended session is kept and can be recovered.")
    max_sessions_per_user: int = _setting(50, "Ten devices with room to spare.")
    session_limit_policy: str = _setting("evict_idle", "reject, evict_oldest or evict_idle; a user is not locked out.")

    drain_spread: float = _setting(5.0, "Seconds over which the clients of a stopping server come back.")
    heartbeat_interval: float = _setting(25.0, "Seconds; home routers forget a silent connection after 30 to 60.")
    heartbeat_missed_limit: int = _setting(3, "1 is an event, 2 is suspect, 3 closes.")
    interval_range: tuple[float, ...] = _setting(
        (2.0, 55.0), "Shortest and longest heartbeat interval that a client may ask for; shorter costs, longer is cut."
    )
    missed_limit_range: tuple[int, ...] = _setting((2, 10), "Fewest and most missed beats that a client may ask for.")
    batch_range: tuple[float, ...] = _setting(
        (0.0, 1.0), "Seconds for which a client may have its frames gathered; whoever waits longer sees a slow site."
    )
    lease_flush_interval: float = _setting(10.0, "Seconds; one UPDATE for all connections instead of one per beat.")
    lease_duration: timedelta = _setting(timedelta(seconds=90), "Three missed beats and a flush.")
    max_held: int = _setting(
        4000, "Polls and streams that one process holds; beyond them clients are told when to come again."
    )
    wsgi_hold: float = _setting(
        0.0, "Seconds for which a WSGI server holds a poll, with a thread of its own; 0 holds none."
    )
    doorbell_database: str = _setting(
        "",
        "Alias of DATABASES, at PostgreSQL and not at a pooler, by which processes tell each other of news; without one"
        " they do so by the channel layer, if it is a shared one.",
    )
    position_check_interval: float = _setting(5.0, "Seconds; the delay of a message whose doorbell was lost.")
    control_interval: float = _setting(3.0, "Seconds; a revoked session is noticed this soon even without a doorbell.")
    connect_timeout: float = _setting(10.0, "Seconds; a socket that says nothing holds memory.")
    drain_interval: float = _setting(1.0, "Seconds; the outbox is checked this often even without a doorbell.")

    reconnect_initial: float = _setting(0.5, "Seconds.")
    reconnect_maximum: float = _setting(20.0, "Seconds.")
    reconnect_factor: float = _setting(2.0, "")
    reconnect_attempts: int = _setting(0, "0 means without end.")

    max_frame_bytes: int = _setting(256 * 1024, "Whole documents go over HTTP; a patch is small.")
    max_document_bytes: int = _setting(5 * 1024 * 1024, "Enough for a form or a board; more belongs into files.")
    max_depth: int = _setting(64, "orjson writes 254 levels at most; nobody needs 64.")
    max_keys: int = _setting(100_000, "Keys of one document, however it grew.")
    max_key_bytes: int = _setting(1024, "")
    max_string_bytes: int = _setting(1024 * 1024, "")
    max_ops: int = _setting(500, "Operations of one update.")
    max_documents: int = _setting(16, "Documents of one session.")
    max_subscriptions: int = _setting(100, "Topics of one session.")
    max_clients: int = _setting(
        100, "Clients of one session; a new one takes the place of the one that was away longest."
    )
    max_connections_per_user: int = _setting(50, "Live connections.")
    max_connections_per_session: int = _setting(50, "Live connections; each tab has one.")
    max_sockets_per_address: int = _setting(
        1000, "Sockets of one address on one process, proved or not; 0 is no bound. A proxy is one address."
    )
    max_publication_bytes: int = _setting(64 * 1024, "A publication is sent to everybody.")
    max_metadata_bytes: int = _setting(16 * 1024, "Metadata and config are read with each session.")
    max_outbound_bytes: int = _setting(
        1024 * 1024, "Waiting for one slow reader; beyond it the reader is fed from the log."
    )
    max_requests_per_second: float = _setting(
        50.0,
        "Sustained, of one token and of one user, over HTTP and at connect, in each process; an address has 40 times"
        " as many, a burst of ten seconds is allowed, failures cost more; 0 is without limit.",
    )
    schema_page: bool = _setting(False, "A page with Swagger UI at schema/page/; it needs drf-spectacular-sidecar.")
    throttle_classes: tuple[str, ...] = _setting((), "Dotted paths of REST framework throttles besides.")
    max_frames_per_second: float = _setting(200.0, "Sustained, per connection; a burst of five seconds is allowed.")

    documents: dict[str, dict[str, Any]] = _setting(
        {}, "By name: strategy, arrays, on_conflict and claim; others are merged, arrays as single values."
    )
    max_conflicts: int = _setting(100, "Open conflicts of one document under manual; beyond it an update is refused.")
    max_conflict_bytes: int = _setting(1024 * 1024, "Values of these conflicts together.")
    compression_threshold: int = _setting(10 * 1024, "Below it the row fits a page anyway.")
    snapshot_every: int = _setting(
        64, "Revisions at least; more for a large document, until a reader would have a quarter more to do."
    )
    max_revisions: int = _setting(2000, "Revisions of one document's log; a client further behind gets a snapshot.")
    max_log_bytes: int = _setting(10 * 1024 * 1024, "Operations of one document's log; twice a document.")
    log_retention: timedelta = _setting(timedelta(hours=24), "Older revisions go, about; labelled checkpoints stay.")
    max_checkpoints: int = _setting(20, "Labelled checkpoints of one document; each is a whole copy.")
    head_cache_bytes: int = _setting(64 * 1024 * 1024, "Decoded documents kept in each process; 0 keeps none.")
    state_keys: tuple[tuple[str, str], ...] = _setting(
        (), "Pairs of key id and base64 of 32 bytes; the first one writes, all of them read.", secret=True
    )
    encrypt_state: bool | tuple[str, ...] = _setting(
        False, "True, or the names of the documents that are encrypted; whoever reads a dump reads the others."
    )
    require_encryption: bool = _setting(
        False, "Plain rows are refused where sealed ones belong; off while rotate_state_keys still has some to convert."
    )
    encode_values: bool = _setting(True, "Decimal, dates, times, UUID and dataclasses from Python are encoded as text.")
    replay_page: int = _setting(200, "Entries of one read from a log.")
    replay_page_bytes: int = _setting(
        256 * 1024, "Bytes of one read from a log, and of one frame with its entries; a single entry may be larger."
    )
    replay_most: int = _setting(10_000, "Entries of one recovery; beyond it a snapshot or a gap is the honest answer.")
    stream_retention: timedelta = _setting(timedelta(hours=24), "Default for topics that declare none.")
    event_retention: timedelta = _setting(timedelta(days=7), "Entries of a session's log, and its closed connections.")
    event_entries: int = _setting(10_000, "Entries of a session's log.")
    stream_entries: int = _setting(10_000, "Default for topics that declare none.")

    lane_queue: int = _setting(10_000, "Waiting writes; beyond it a write is refused as busy.")
    lane_batch: int = _setting(256, "Writes of one transaction.")
    read_threads: int = _setting(4, "Threads of one process that read; each has a database connection.")
    heavy_seconds: float = _setting(10.0, "Work on one document in the worker process; what takes longer is killed.")
    handler_threads: int = _setting(4, "Threads of one process for the project's own functions, which may be slow.")
    cleanup_interval: timedelta = _setting(
        timedelta(minutes=5),
        "An expired session ends at most this late; give beat_schedule() the same interval, or cron: they start it.",
    )
    cleanup_chunk: int = _setting(1000, "Most rows of a transaction of the cleanup; it takes what fits into 15 ms.")
    audit_retention: timedelta = _setting(
        timedelta(days=365), "Of the audit trail; most rules ask for a year, and for no more than is needed."
    )
    stored_addresses: str = _setting(
        "full",
        "full, truncated (IPv4 to 24 bits, IPv6 to 48) or hashed (a keyed pseudonym within fd00::/8), in rows and in"
        " the security log.",
    )
    trusted_proxies: int = _setting(
        0, "Proxies of your own in front, of which each adds the caller's address to X-Forwarded-For; 0 reads none."
    )
    max_anonymous_per_address: int = _setting(
        100, "Sessions of nobody that one address may make in an hour, in each process; 0 is without limit."
    )
    device_change: str = _setting(
        "audit",
        "ignore, audit or reauth: for a session whose browser or system is another one than before, as a copied token"
        " would show. reauth takes its place as a recent login away, and a refresh has to go by enter.",
    )
    address_change: str = _setting(
        "ignore", "The same for another network; people travel, so audit makes many entries and reauth many logins."
    )
    place_of: Hook = _setting(None, "Called with a session: its place for people, as the project knows it.")
    webhooks: bool = _setting(
        False, "Whether endpoints are told of events; that a server calls addresses is for its project to decide."
    )
    webhook_http: bool = _setting(False, "Whether an endpoint may be at http://, where everybody on the way reads.")
    webhook_networks: tuple[str, ...] = _setting(
        (), "Networks of your own, as 10.1.0.0/16, that endpoints may be in; other private addresses are never called."
    )
    webhook_timeout: float = _setting(10.0, "Seconds for one call, from the connection to the answer's status.")
    webhook_life: timedelta = _setting(
        timedelta(hours=24), "For which a delivery is tried; then it is given up, and the session's next one goes on."
    )
    webhook_rotation: timedelta = _setting(
        timedelta(hours=24), "For which an endpoint's old secret signs beside the new one after a rotation."
    )
    webhook_retention: timedelta = _setting(timedelta(days=7), "Of deliveries that were sent or given up.")
    allowed_origins: tuple[str, ...] = _setting((), "Origins besides the host's own that may open a WebSocket.")
    websocket_path: str = _setting("/ws/session/", "Address of the consumer, as clients are told.")


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
