"""Every system check fires on the mistake that it is for, with a hint, and is silent without it."""

from __future__ import annotations

import functools
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import override_settings

from session_mgmt import beat_schedule, checks, conf, deploy_checks
from session_mgmt.actions import vaults
from session_mgmt.asgi import application
from session_mgmt.checks.documents import check_documents
from session_mgmt.consumers.websocket import SessionConsumer
from session_mgmt.protocol.patterns import compile_pattern
from session_mgmt.registry import Topic, registry


class Elsewhere:
    """A router that sends some apps to a database of their own."""

    def __init__(self, labels: set[str]) -> None:
        self._labels = labels

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "elsewhere" if model._meta.app_label in self._labels else None

    db_for_write = db_for_read


class Careless(SessionConsumer):
    """A consumer that forgets the check of the origin."""

    async def may_open(self) -> None:
        return None


class Careful(SessionConsumer):
    """A consumer that adds a condition of its own."""

    async def may_open(self) -> Any:
        return await super().may_open() or None


KEY = ("k1", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
# Of a project that has forgotten to include ours.
urlpatterns: list[Any] = []
ENGINE = "django.db.backends.sqlite3"
LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
POSTGRES = "django.db.backends.postgresql"

# The id -> what is set for it: SESSION_MGMT, or other settings of the project.
MISTAKES: dict[str, dict[str, Any]] = {
    "E001": {"SESSION_MGMT": ["idle_timeout"]},
    "E002": {"SESSION_MGMT": {"idle_timeouts": timedelta(hours=1)}},
    "E003": {"SESSION_MGMT": {"idle_timeout": 3600}},
    "E004": {"SESSION_MGMT": {"idle_timeout": timedelta(seconds=59)}},
    "E005": {"SESSION_MGMT": {"lease_duration": timedelta(seconds=30)}},
    "E006": {"SESSION_MGMT": {"session_limit_policy": "lottery"}},
    "E027": {"SESSION_MGMT": {"on_login": "maybe"}},
    "E028": {"SESSION_MGMT": {"on_logout": "anonymous"}},
    "E029": {"SESSION_MGMT": {"may_claim": "nowhere.to_be_found"}},
    "E007": {"SESSION_MGMT": {"database": "elsewhere"}},
    "E008": {"SESSION_MGMT": {"state_keys": (("k1", "short"),)}},
    "E009": {"SESSION_MGMT": {"encrypt_state": True}},
    "E010": {"SESSION_MGMT": {"state_keys": (KEY,)}},
    "E011": {"SESSION_MGMT": {"DOCUMENTS": {"main": {"strategy": "no.such.function"}}}},
    "E012": {"SESSION_MGMT": {"require_encryption": True}},
    "E013": {"SESSION_MGMT": {"schema_page": True}},
    "E014": {"SESSION_MGMT": {"read_threads": 0}},
    "E015": {"SESSION_MGMT": {"throttle_classes": ["shop.throttles.Missing"]}},
    "E016": {"SESSION_MGMT": {"allowed_origins": ["shop.example"]}},
    "E024": {"SESSION_MGMT": {"user_standing": {"no_such_field": True}}},
    "E017": {"SESSION_MGMT": {"websocket_path": "ws/session/"}},
    "E018": {"SESSION_MGMT": {"stored_addresses": "salted"}},
    "E023": {"SESSION_MGMT": {"token_mode": "cookie", "anonymous_sessions": True}, "CSRF_USE_SESSIONS": True},
    "W019": {"SESSION_MGMT": {"token_mode": "cookie"}},
    "E020": {"DATABASE_ROUTERS": [Elsewhere({"auth"})]},
    "E021": {"DATABASE_ROUTERS": [Elsewhere({"session_mgmt"})]},
    "E022": {"SESSION_MGMT": {"tenant_of": lambda: "acme"}},
    "E030": {"SESSION_MGMT": {"doorbell_database": "elsewhere"}},
    "E031": {},
    "E032": {"SESSION_MGMT": {"webhook_networks": ["10.0.0.1/8"]}},
    "E035": {},
    "W023": {},
    "E036": {"CHANNEL_LAYERS": {"default": {"BACKEND": "channels_redis.nowhere.Layer"}}},
    "E037": {"DATABASES": {"default": {"ENGINE": POSTGRES, "AUTOCOMMIT": False}}},
    "E038": {"SESSION_MGMT": {"reconnect_initial": 30.0}},
    "E033": {"SESSION_MGMT": {"webhook_timeout": 90.0}},
    "W001": {"DATABASES": {"default": {"ENGINE": ENGINE, "NAME": "db.sqlite3"}}},
    "W002": {"CHANNEL_LAYERS": {}},
    "W004": {},
    "W006": {"SESSIONS_MGMT": {"anonymous_sessions": True}},
    "W007": {"DATABASES": {"default": {"ENGINE": ENGINE, "NAME": "db.sqlite3"}}},
    "W008": {"SECURE_SSL_REDIRECT": False},
    "W009": {"SESSION_MGMT": {"allowed_origins": ["http://shop.example"]}},
    "W010": {"ALLOWED_HOSTS": ["shop.example", "*"]},
    "W011": {},
    "W012": {"SECRET_KEY": "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz"},
    "W013": {"SESSION_MGMT": {"anonymous_sessions": True, "max_anonymous_per_address": 0}},
    "W014": {"SESSION_MGMT": {"max_requests_per_second": 0}},
    "W015": {"SESSION_MGMT": {"max_frame_bytes": 2 * 1024 * 1024}},
    "W016": {},
    "W020": {"SESSION_MGMT": {"max_held": 10**9}},
    "W017": {"SESSION_COOKIE_SAMESITE": "None"},
    "W018": {"SESSION_MGMT": {"assurance": "AAL2"}},
    "W005": {"DATABASES": {"default": {"ENGINE": POSTGRES, "CONN_MAX_AGE": 60}}},
    "W027": {"ROOT_URLCONF": __name__},
    "W029": {"SESSION_MGMT": {"control_interval": 5.0}},
    "W028": {"MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"]},
    "W030": {"SESSION_MGMT": {"token_mode": "cookie", "allowed_origins": ["https://shop.example"]}},
    "W026": {"SESSION_MGMT": {"cleanup_interval": timedelta(minutes=1)}, "CELERY_BEAT_SCHEDULE": beat_schedule()},
    "W025": {"DATABASES": {"default": {"ENGINE": POSTGRES, "OPTIONS": {"pool": {"max_size": 20}}}}},
}


# What a service that strangers can reach has besides.
SAFE: dict[str, Any] = {
    "ALLOWED_HOSTS": ["shop.example"],
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
}
# Shown where a database is (tests/commands/test_state_commands.py, tests/backends/test_postgres_doorbell.py).
ASKS_THE_DATABASE = {"W003", "W021"}


def may_follow(*_: Any, **__: Any) -> bool:
    return True


def declare_topics(*patterns: str) -> list[Topic]:
    return [Topic(compile_pattern(pattern), may_follow, False, None, None) for pattern in patterns]


def found(settings: Any, **changed: Any) -> list[CheckMessage]:
    for name, value in changed.items():
        setattr(settings, name, value)
    return [m for m in run_checks(include_deployment_checks=True) if (m.id or "").startswith("session_mgmt.")]


def test_every_check_has_its_mistake_here() -> None:
    files = [*Path(checks.__file__).parent.glob("*.py"), Path(deploy_checks.__file__)]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    assert set(re.findall(r'id="session_mgmt\.(\w+)"', source)) == set(MISTAKES) | ASKS_THE_DATABASE


# Django itself warns that DATABASES is not overridden by tests; nothing connects here.
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize("id_", MISTAKES)
@pytest.mark.requirement("ASVS 7.1.1", "ASVS 4.4.1")
def test_a_mistake_is_told_with_a_hint(id_: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if id_ == "W004":
        monkeypatch.setattr("sys.argv", ["manage.py", "runserver"])
    if id_ == "E010":
        monkeypatch.setattr(vaults, "sealing", None)
        vaults._build_keyring.cache_clear()
    if id_ == "E031":
        monkeypatch.setattr(connection, "vendor", "mysql")
    if id_ == "E035":
        monkeypatch.setattr(registry, "topics", declare_topics("orders:{pk}", "orders:{number:int}"))
    if id_ == "W023":
        monkeypatch.setattr(registry, "message_handlers", [may_follow, functools.partial(may_follow)])
    if id_ == "W011":
        monkeypatch.setattr(deploy_checks, "_iter_subclasses", lambda class_: [Careless])
    if id_ == "W020":
        monkeypatch.setattr(deploy_checks, "_read_most_descriptors", lambda: 1024)
    if id_ == "W016":
        monkeypatch.setattr(deploy_checks, "version", {"autobahn": "24.4.2", "daphne": "4.2.3"}.__getitem__)
    told = [message for message in found(settings, **MISTAKES[id_]) if message.id == f"session_mgmt.{id_}"]
    assert len(told) == 1
    assert told[0].hint


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(
    ("pool", "threads", "is_told"),
    [
        (True, {}, True),
        ({"min_size": 21}, {}, False),
        ({"min_size": 4, "max_size": 21}, {}, False),
        ({"max_size": 21}, {"read_threads": 5}, True),
        (None, {}, False),
    ],
)
def test_a_pool_must_have_more_than_the_apps_own_threads_keep(
    settings: Any, pool: Any, threads: dict[str, int], is_told: bool
) -> None:
    database = {"ENGINE": POSTGRES, "OPTIONS": {"pool": pool}}
    messages = found(settings, DATABASES={"default": database}, SESSION_MGMT=threads)
    assert is_told == ("session_mgmt.W025" in [message.id for message in messages])


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_a_project_without_mistakes_is_told_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA cache_size=-65536;"}
    fit = {"ENGINE": ENGINE, "NAME": "db.sqlite3", "OPTIONS": options}
    given = {"IDLE_TIMEOUT": timedelta(hours=1), "reconnect_factor": 2, "allowed_origins": ["https://shop.example"]}
    monkeypatch.setattr(deploy_checks, "_iter_subclasses", lambda class_: [Careful])
    monkeypatch.setattr(deploy_checks, "_read_most_descriptors", lambda: 4200)
    # That of a model of the tests that publishes.
    monkeypatch.setattr(registry, "topics", declare_topics("orders:{customer:int}"))
    assert found(settings, DATABASES={"default": fit}, CHANNEL_LAYERS=LAYERS, SESSION_MGMT=given, **SAFE) == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(
    ("command", "is_small"),
    [
        ("", True),
        ("PRAGMA cache_size=2000", True),
        ("PRAGMA cache_size = -16384;", False),
        ("pragma Cache_Size(5000);", False),
        ("PRAGMA cache_size=-65536; PRAGMA cache_size=-100;", True),
    ],
)
def test_a_page_cache_is_measured_as_sqlite_does(command: str, is_small: bool, settings: Any) -> None:
    options = {"transaction_mode": "IMMEDIATE", "init_command": command}
    told = found(settings, DATABASES={"default": {"ENGINE": ENGINE, "NAME": "db.sqlite3", "OPTIONS": options}})
    assert ("session_mgmt.W007" in [message.id for message in told]) is is_small


@pytest.mark.parametrize(
    "given",
    [
        {"database": ["default"]},
        {"doorbell_database": {"x": 1}},
        {"documents": 1},
        {"throttle_classes": None},
        {"state_keys": 5},
        {"webhook_timeout": "10"},
        {"webhook_networks": 10},
        {"token_keys": [None]},
        {"encrypt_state": [1]},
        {"allowed_origins": 5},
        {"max_held": "many"},
        {"place_of": 1},
    ],
)
def test_no_check_fails_for_a_type_that_another_one_tells(given: dict[str, Any], settings: Any) -> None:
    assert "session_mgmt.E003" in [message.id for message in found(settings, SESSION_MGMT=given)]


# Of each kind that a setting could be given by mistake; no setting takes one of them but where it is named here.
WRONG_VALUES: list[Any] = [
    b"x",
    -1,
    10**30,
    float("nan"),
    {1},
    [None],
    ["no.such.thing"],
    "no.such.thing",
]
TAKES = {"encrypt_state": ["no.such.thing"], "token_keys": ["no.such.thing"]}


@pytest.mark.sqlite
def test_each_setting_refuses_what_it_cannot_be() -> None:
    for name in (each.name for each in fields(conf.Settings)):
        for value in WRONG_VALUES:
            if name in TAKES and value == TAKES[name]:
                continue
            with override_settings(SESSION_MGMT={name: value}):
                told = list(checks.list_mistakes())
            assert told, (name, value)
            assert all(message.hint for message in told), (name, value)
            assert any(name in f"{message.msg} {message.hint}" for message in told), (name, value, told)


def test_a_setting_in_upper_and_in_lower_case_is_there_twice(settings: Any) -> None:
    told = found(settings, SESSION_MGMT={"MAX_OPS": 5, "max_ops": 6})
    assert [message.msg for message in told if message.id == "session_mgmt.E002"] == [
        "SESSION_MGMT has 'max_ops' twice."
    ]


@pytest.mark.parametrize("value", [True, "1", None, 1.5])
def test_a_number_is_neither_a_flag_nor_text(value: Any, settings: Any) -> None:
    assert "session_mgmt.E003" in [message.id for message in found(settings, SESSION_MGMT={"max_ops": value})]


ROUNDS = [
    *("heartbeat_interval", "lease_flush_interval", "position_check_interval", "control_interval", "drain_interval"),
    *("reconnect_initial", "reconnect_maximum"),
]


@pytest.mark.parametrize(
    "given",
    [
        {"max_clients": -1},
        {"heavy_seconds": 0},
        {"lane_batch": 0},
        {"replay_page": -5},
        {"reconnect_factor": 0.5},
        {"heartbeat_interval": float("nan")},
        {"interval_range": (5.0, 2.0)},
        {"interval_range": (0, 2.0)},
        {"batch_range": (0.0, float("nan"))},
        {"missed_limit_range": (2,)},
        {"missed_limit_range": ("2", 3)},
        {"position_check_interval": float("inf")},
        {"cleanup_interval": timedelta(0)},
        # Below what any client or worker needs.
        {"max_frame_bytes": 1023},
        {"max_document_bytes": 1},
        {"max_metadata_bytes": 1},
        {"access_lifetime": timedelta(seconds=9)},
        {"cleanup_interval": timedelta(seconds=9)},
        # A process or a client would do nothing else.
        *({name: 0.001} for name in ROUNDS),
        {"max_requests_per_second": 0.01},
        {"max_frames_per_second": 0.5},
        # Beyond what a time, a database, a client or orjson can be given.
        {"log_retention": timedelta.max},
        {"position_check_interval": 1e300},
        {"replay_page": 10**30},
        {"interval_range": (2.0, 1e300)},
        {"max_depth": 255},
    ],
)
def test_a_number_that_cannot_work_is_told_before_a_server_starts(given: dict[str, Any], settings: Any) -> None:
    assert [message.id for message in found(settings, SESSION_MGMT=given)].count("session_mgmt.E014") == 1
    with pytest.raises(ImproperlyConfigured, match="is out of range"):
        application(None)


@pytest.mark.parametrize("schedule", [60, 60.0, timedelta(minutes=1), "a crontab"])
def test_the_clock_and_the_setting_agree_about_the_cleanup(schedule: Any, settings: Any) -> None:
    entries = {"ours": {"task": "session_mgmt.cleanup_sessions", "schedule": schedule}, "other": {"schedule": 5}}
    given = {"cleanup_interval": timedelta(minutes=1)}
    told = found(settings, CELERY_BEAT_SCHEDULE=entries, SESSION_MGMT=given)
    assert "session_mgmt.W026" not in [message.id for message in told]


@pytest.mark.parametrize("name", ["max_requests_per_second", "max_sockets_per_address", "head_cache_bytes"])
def test_a_limit_that_may_be_off_may_be_0(name: str, settings: Any) -> None:
    told = [message.id for message in found(settings, SESSION_MGMT={name: 0}) if message.is_serious()]
    assert [id_ for id_ in told if "E" in str(id_).rpartition(".")[2]] == []


@pytest.mark.parametrize("origin", ["*", "https://*.shop.example", "https://shop.example/", "//shop.example", 5])
def test_an_origin_that_no_page_can_have_is_told(origin: Any, settings: Any) -> None:
    told = found(settings, SESSION_MGMT={"allowed_origins": [origin]})
    assert "session_mgmt.E016" in [message.id for message in told]


@pytest.mark.parametrize("name", ["max_anonymous_per_address", "trusted_proxies"])
def test_these_may_be_0_too(name: str, settings: Any) -> None:
    assert "session_mgmt.E014" not in [message.id for message in found(settings, SESSION_MGMT={name: 0})]


@pytest.mark.parametrize("given", ["shop.places.missing", "session_mgmt.conf.NAME", lambda: ""])
def test_a_place_must_be_a_function_of_a_session(given: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"place_of": given}
    assert "session_mgmt.E022" in [message.id for message in found(settings)]


@pytest.mark.parametrize(
    ("first", "second", "is_hidden"),
    [
        ("chat:{room}", "chat:lobby", True),
        ("chat:lobby", "chat:{room}", False),
        ("orders:{pk:int}", "orders:{pk}", False),
        # Other spellings of a number are left to the second one.
        ("orders:{pk}", "orders:{code:str}", False),
        ("orders:{pk:slug}", "orders:{pk:uuid}", True),
        ("orders:{pk:uuid}", "orders:{pk:slug}", False),
        ("{kind}:{pk}", "orders:{pk}", True),
        ("orders:{pk}", "{kind}:{pk}", False),
        ("orders:{pk}", "orders:{pk}:{line}", False),
    ],
)
def test_a_topic_that_an_earlier_pattern_hides_is_told(
    first: str, second: str, is_hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "topics", declare_topics(first, second))
    told = checks.check_topics()
    assert [message.id for message in told] == ["session_mgmt.E035"] * is_hidden
    assert all(repr(first) in message.msg and repr(second) in message.msg for message in told)


@pytest.mark.parametrize(("number", "expected"), [("26.7.1", False), ("26.7.0.post1", True), ("26.10.1", False)])
@pytest.mark.requirement("OWASP WebSocket: compression")
def test_versions_are_compared_by_number(number: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_checks, "version", {"autobahn": number, "daphne": "5.0"}.__getitem__)
    assert bool(deploy_checks.check_compression()) is expected


def test_a_layer_in_memory_is_fine_while_developing(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    assert not [message for message in run_checks() if message.id == "session_mgmt.W002"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *(({"documents": {name: {}}}, "not a valid document name") for name in ("a/b", "", ".", 3)),
        ({"encrypt_state": ["a/b"], "state_keys": (KEY,)}, "not a valid document name"),
        *(({"documents": {"main": policy}}, "is a dictionary of") for policy in (3, None, "merge", ["merge"])),
        *(({"documents": {"main": {"arrays": given}}}, "by pointer") for given in (3, "set", ["set"], {3: "set"})),
        *(({"documents": {"main": {"arrays": {"/a": given}}}}, "An array policy") for given in (3, None, ["set"])),
        ({"documents": {"main": {3: "merge"}}}, "There is no '3'"),
    ],
)
def test_what_no_document_can_have_is_told(given: dict[str, Any], told: str, settings: Any) -> None:
    settings.SESSION_MGMT = given
    assert [(fault.id, told in fault.msg) for fault in check_documents()] == [("session_mgmt.E011", True)]


def test_a_claim_of_what_no_document_is_named_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "claim_handlers", {"a/b": print})
    assert ["@on_claim" in fault.msg for fault in check_documents()] == [True]
