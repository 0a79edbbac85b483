"""State of the users of sessions: whether they may act, and to which credentials their sessions are bound.

If columns show this, many users are checked with one query. If a user model computes its ``is_active`` or its session
hash, its instances are used.
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
    """User as far as sessions need it; ``password`` is the column, if the fingerprints depend on it alone."""

    may_act: bool
    prints: tuple[bytes, ...]
    password: str | None = None

    def __repr__(self) -> str:
        return f"UserStanding(may_act={self.may_act!r})"

    def make_mark(self, fingerprint: bytes | None) -> bytes:
        """Return the mark of a session of this user."""
        return fingerprints.make_mark(fingerprint, self.password)


def may_act(user: Any) -> bool:
    """Return whether a user may act by the project's ``user_standing``; sessions without a user always may."""
    if user is None:
        return True
    if settings().user_standing == _ACTIVE:
        return _is_active(user)
    return bool(_list_standing().filter(pk=user.pk).exists())


def _is_active(user: Any) -> bool:
    # Without the attribute everybody may act, as in Django's own backend.
    return bool(getattr(user, "is_active", True))


def has_permission(user: Any, permission: str) -> bool:
    """Return whether a user has a permission; users of a model without permissions have none."""
    ask = getattr(user, "has_perm", None)
    return ask is not None and bool(ask(permission))


def asks_instances() -> bool:
    """Return whether instances of the user model are needed, because columns do not show how users stand."""
    is_computed = settings().user_standing == _ACTIVE and not has_active_column()
    return is_computed or (has_hash() and not fingerprints.is_of_password())


def changes_by_writes_only() -> bool:
    """Return whether users can change only by writes: a filter of the project's own may also depend on the time."""
    return settings().user_standing == _ACTIVE and not asks_instances()


def has_hash() -> bool:
    """Return whether the user model has a hash to which sessions can be bound."""
    return hasattr(get_user_model(), "get_session_auth_hash")


@lru_cache(maxsize=1)
def has_active_column() -> bool:
    """Return whether ``is_active`` is a column of the users' own table. A user model may compute it, keep the constant
    ``True`` of its base class, or inherit it from a parent with a table of its own.
    """
    model = get_user_model()._meta
    return any(field.column == field.name == "is_active" for field in model.local_concrete_fields)


def find_users(statements: Statements, stored: Iterable[Any]) -> dict[Any, UserStanding]:
    """Return how users stand, by their keys as they are stored; missing users are left out."""
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
    """Return the same from instances of the user model, with one more query for a filter of the project's own."""
    by_key = {read_user_id(key): key for key in keys}
    # The base manager, because the project's default manager may hide users.
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
    """Return the user's part of a session's mark: the column ``password`` if columns show how users stand, else
    ``None``.
    """
    return None if user is None or asks_instances() or not has_hash() else user.password


def read_user_id(stored: Any) -> Any:
    """Return a stored key of a user in the form of the user model; SQLite, for example, stores a UUID as text."""
    if stored is None or isinstance(stored, int):
        return stored
    return ClientSession._meta.get_field("user").target_field.to_python(stored)


def render_standing(statements: Statements, mark: str) -> tuple[str, str, list[Any]]:
    """Return the join of the users' table to sessions ``s``, the condition that a user may act and that the session has
    this mark, and the parameters. Call it only if columns show how users stand.
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
    """Return the condition that the user ``u`` with this key may act, and its parameters."""
    if settings().user_standing == _ACTIVE:
        return f"u.{statements.connection.ops.quote_name('is_active')}", []
    inner = _list_standing().filter(pk=RawSQL(key, [])).values("pk").query
    sql, params = inner.get_compiler(connection=statements.connection).as_sql()
    return f"EXISTS ({sql})", list(params)


def annotate_standing(sessions: QuerySet[Any], user: str) -> QuerySet[Any]:
    """Add ``user_stands`` to rows with a path to their user, if the project has a filter of its own."""
    if settings().user_standing == _ACTIVE:
        return sessions
    return sessions.annotate(user_stands=Exists(_list_standing().filter(pk=OuterRef(user))))


def _list_standing() -> QuerySet[Any]:
    return get_user_model()._base_manager.using(settings().database).filter(**settings().user_standing)


def _name_password(statements: Statements) -> str | None:
    return f"u.{statements.connection.ops.quote_name('password')}" if has_hash() else None
