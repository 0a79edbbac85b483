"""How the users of sessions stand: whether they may act, and by which credentials their sessions are bound.

Columns say so wherever they can, for many users in one query. A user model that computes its ``is_active`` or its
session hash is asked through its instances.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.expressions import RawSQL

from session_mgmt.actions.sessions import fingerprints
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession
from session_mgmt.models.sql import Statements

_ACTIVE = {"is_active": True}


class UserStanding(NamedTuple):
    """User as sessions need to know it; ``password`` is the column, where the fingerprints depend on it alone."""

    may_act: bool
    prints: tuple[bytes, ...]
    password: str | None = None

    def make_mark(self, fingerprint: bytes | None) -> bytes:
        """Return the mark of a session of this user."""
        return fingerprints.make_mark(fingerprint, self.password)


def may_act(user: Any) -> bool:
    """Return whether a user may act as the project's ``user_standing`` says; nobody's sessions always may."""
    if user is None:
        return True
    if settings().user_standing == _ACTIVE:
        return _is_active(user)
    return bool(_list_standing().filter(pk=user.pk).exists())


def _is_active(user: Any) -> bool:
    # Of a model that has no such thing everybody may act, as Django's own backend sees it.
    return bool(getattr(user, "is_active", True))


def has_permission(user: Any, permission: str) -> bool:
    """Return whether a user has a permission; users of a model without permissions have none."""
    ask = getattr(user, "has_perm", None)
    return ask is not None and bool(ask(permission))


def asks_instances() -> bool:
    """Return whether columns cannot tell how a user stands."""
    is_computed = settings().user_standing == _ACTIVE and not has_active_column()
    return is_computed or (has_hash() and not fingerprints.is_of_password())


def changes_by_writes_only() -> bool:
    """Return whether users stand as they did as long as nothing is written: a filter of the project's own may ask the
    clock.
    """
    return settings().user_standing == _ACTIVE and not asks_instances()


def has_hash() -> bool:
    """Return whether the user model has anything that a session can be bound to."""
    return hasattr(get_user_model(), "get_session_auth_hash")


@lru_cache(maxsize=1)
def has_active_column() -> bool:
    """Return whether ``is_active`` is a column of the users' own table: a user model may compute it, or leave it at
    its base's ``True``, or have it from a parent with a table of its own.
    """
    model = get_user_model()._meta
    return any(field.column == field.name == "is_active" for field in model.local_concrete_fields)


def find_users(statements: Statements, stored: Iterable[Any]) -> dict[Any, UserStanding]:
    """Return how users stand, by their keys as they are stored; a user that is missing is not in it."""
    keys = list(stored)
    if not keys:
        return {}
    if asks_instances():
        return _ask_instances(keys)
    quote, model = statements.connection.ops.quote_name, get_user_model()._meta
    assert model.pk is not None
    key = f"u.{quote(str(model.pk.column))}"
    condition, params = render_condition(statements, key)
    among, given = statements.among(key, keys)
    rows = statements.fetch(
        f"SELECT {key}, CASE WHEN {condition} THEN 1 ELSE 0 END, {_name_password(statements) or 'NULL'}"
        f" FROM {quote(model.db_table)} u WHERE {among}",
        [*params, *given],
    )
    return {
        user: UserStanding(bool(good), () if password is None else fingerprints.list_by_password(password), password)
        for user, good, password in rows
    }


def _ask_instances(keys: list[Any]) -> dict[Any, UserStanding]:
    """Return the same by instances of the user model, and one query more for a filter of the project's own."""
    by_key = {read_user_id(key): key for key in keys}
    # Whatever manager the project has made the default may hide users.
    found = get_user_model()._base_manager.using(settings().database).in_bulk(by_key)
    if settings().user_standing == _ACTIVE:
        good = {pk for pk, user in found.items() if _is_active(user)}
    else:
        good = set(_list_standing().filter(pk__in=found).values_list("pk", flat=True))
    return {
        by_key[pk]: UserStanding(pk in good, fingerprints.list_fingerprints(user))
        for pk, user in found.items()
        if pk in by_key
    }


def find_password(user: Any) -> str | None:
    """Return the user's part of a session's mark: the column ``password``, where columns can tell."""
    return None if user is None or asks_instances() or not has_hash() else user.password


def read_user_id(stored: Any) -> Any:
    """Return a stored user's key in the form of the user model: SQLite stores a UUID as text."""
    if stored is None or isinstance(stored, int):
        return stored
    return ClientSession._meta.get_field("user").target_field.to_python(stored)


def render_standing(statements: Statements, mark: str) -> tuple[str, str, list[Any]]:
    """Return the join of the users' table to sessions ``s``, the condition that a user may act and that the session
    has this mark, and its parameters. Only where columns can tell.
    """
    quote, model = statements.connection.ops.quote_name, get_user_model()._meta
    assert model.pk is not None
    key = f"u.{quote(str(model.pk.column))}"
    condition, params = render_condition(statements, key)
    password = _name_password(statements)
    if password is not None:
        made = fingerprints.render_mark("s.auth_fingerprint", password, postgres=statements.postgres)
        condition = f"{condition} AND {made} = {mark}"
    return f"LEFT JOIN {quote(model.db_table)} u ON {key} = s.user_id", condition, params


def render_condition(statements: Statements, key: str) -> tuple[str, list[Any]]:
    """Return the condition that the user ``u`` of this key may act, and its parameters."""
    if settings().user_standing == _ACTIVE:
        return f"u.{statements.connection.ops.quote_name('is_active')}", []
    inner = _list_standing().filter(pk=RawSQL(key, [])).values("pk").query
    sql, params = inner.get_compiler(connection=statements.connection).as_sql()
    return f"EXISTS ({sql})", list(params)


def annotate_standing(sessions: QuerySet[Any], user: str) -> QuerySet[Any]:
    """Add ``user_stands`` to rows with a path to their user, where the project has a filter of its own."""
    if settings().user_standing == _ACTIVE:
        return sessions
    return sessions.annotate(user_stands=Exists(_list_standing().filter(pk=OuterRef(user))))


def _list_standing() -> QuerySet[Any]:
    return get_user_model()._base_manager.using(settings().database).filter(**settings().user_standing)


def _name_password(statements: Statements) -> str | None:
    return f"u.{statements.connection.ops.quote_name('password')}" if has_hash() else None
