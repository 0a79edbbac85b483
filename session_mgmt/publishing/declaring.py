"""``@publishes``: check the declaration, and connect the model to it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import router
from django.db.models import Field, Model
from django.db.models.manager import BaseManager
from django.db.models.signals import class_prepared, m2m_changed, post_delete, pre_delete

from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.protocol.patterns import TopicPattern, compile_pattern
from session_mgmt.publishing import changes
from session_mgmt.publishing.deletions import expect_deletion, hear_deletion
from session_mgmt.publishing.managers import PublishingManager, PublishingQuerySet
from session_mgmt.publishing.publisher import Publisher, find_kind, get_publisher, read_serializer, set_publisher
from session_mgmt.publishing.relations import hear_relations
from session_mgmt.user_code import check_function

M = TypeVar("M", bound=type[Model])


def publishes(
    topic: str | Callable[[Any], str | None],
    *,
    serializer: Any = None,
    keys: Sequence[str] = (),
    prefetch: Sequence[str] = (),
) -> Callable[[M], M]:
    """Make a model publish its changes, each in the transaction that makes it.

    ``topic`` is a pattern like that of ``@topic``, whose parts are fields of the model, or a function that takes a row
    and returns its topic, or None for no topic. ``serializer`` makes the data that is published about a row: a
    function, a serializer of REST framework, which runs without a request, or the dotted path of either. ``keys`` are
    the fields by which lists are ordered and filtered. ``prefetch`` names relations that the serializer reads. Raises
    ``TypeError`` or ``ValueError`` for a declaration that cannot work.
    """
    if isinstance(topic, type):
        raise TypeError("Write @publishes with a topic in parentheses, as in @publishes('orders:{pk}', serializer=…).")
    names, relations = _read_names("keys", keys), _read_names("prefetch", prefetch)

    def declare(model: M) -> M:
        _check_model(model)
        label = model._meta.label
        if serializer is None:
            raise TypeError(f"@publishes of {label} needs serializer=, which says what is told of a row.")
        if not isinstance(serializer, str):
            read_serializer(label, serializer)
        publisher = Publisher(model, _read_topic(model, topic), serializer, _read_keys(model, names), relations)
        _prepare_managers(model)
        set_publisher(publisher)
        _hear_saves(model)
        for field in model._meta.many_to_many:
            through = field.remote_field.through
            # By name while the model is not loaded.
            named = f"{model._meta.app_label}.{through}" if isinstance(through, str) and "." not in through else through
            m2m_changed.connect(hear_relations, sender=named)
        _hear_deletions(model)
        for proxy in model.__subclasses__():
            _hear_deletions(proxy)
        return model

    return declare


def _read_names(name: str, given: Any) -> tuple[str, ...]:
    # A string is a sequence too, of its characters.
    if isinstance(given, str):
        raise TypeError(f"{name} of @publishes is a list of names: write {name}=({given!r},).")
    # A set has no order, and keys need one.
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) and one for one in given):
        raise TypeError(f"{name} of @publishes is a list of names, not {given!r}.")
    return tuple(given)


def _check_model(model: Any) -> None:
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise TypeError(f"@publishes decorates a model, not {model!r}.")
    options = model._meta
    if options.abstract or options.proxy:
        kind, other = ("abstract", "models that inherit from it") if options.abstract else ("a proxy", "concrete model")
        raise TypeError(f"{options.object_name} is {kind} and has no rows of its own: decorate the {other}.")
    if options.parents:
        raise TypeError(f"{options.label} has its rows in several tables, and can be changed by any of their models.")
    if get_publisher(model) is not None:
        raise TypeError(f"{options.label} has a @publishes already.")
    if find_kind(options.pk) is None:
        raise TypeError(f"The primary key of {options.label} has no order that clients could keep.")


def _read_topic(model: type[Model], topic: Any) -> Any:
    role = f"topic of {model._meta.label}"
    if not isinstance(topic, str):
        check_function(topic, role, "row")
        return topic
    pattern: TopicPattern = compile_pattern(topic)
    if topic.startswith(PRESENCE):
        raise ValueError(f"{role}: {PRESENCE} is what the app names presence by.")
    for name in pattern.types:
        _find_field(model, name, f"{role}: {topic!r}")
    return pattern


def _read_keys(model: type[Model], names: tuple[str, ...]) -> tuple[str, ...]:
    role = f"keys of {model._meta.label}"
    for at, name in enumerate(names):
        field = _find_field(model, name, role)
        if name in names[:at]:
            raise ValueError(f"{role} has {name!r} twice.")
        if field is model._meta.pk:
            raise ValueError(f"{role}: the primary key is one in any case; leave {name!r} out.")
        if find_kind(field) is None:
            raise ValueError(f"{role}: values of {name!r} have no order that clients could keep.")
    return names


def _find_field(model: type[Model], name: str, role: str) -> Any:
    try:
        field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if isinstance(field, Field) and field.concrete and not field.many_to_many:
        return field
    names = [field.name for field in model._meta.concrete_fields]
    near = get_close_matches(str(name), names, 1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(names)}."
    raise ValueError(f"{role}: {model._meta.object_name} has no field {name!r} of its own. {hint}")


def _prepare_managers(model: Any) -> None:
    """Replace Django's default manager by ours, also where Django itself changes related rows."""
    options = model._meta
    for manager in [manager for manager in options.local_managers if manager.auto_created]:
        options.local_managers.remove(manager)
        ours: Any = PublishingManager()
        ours.auto_created = True
        model.add_to_class(manager.name, ours)
    for manager in options.managers:
        if not is_publishing(manager):
            raise TypeError(
                f"{options.label}.{manager.name} does not publish its changes: derive its class from"
                " PublishingManager, or its query set from PublishingQuerySet."
            )
    if options.base_manager_name is None:
        manager = options.default_manager
        if type(manager).get_queryset is not BaseManager.get_queryset:
            raise TypeError(
                f"{options.label}.{manager.name} has a get_queryset() of its own, and Django needs one manager that has"
                f" all rows: write `everything = PublishingManager()`, and base_manager_name = 'everything' in Meta."
            )
        # Not through Meta, so that no migration is made for it.
        options.base_manager_name = manager.name
        options._expire_cache()


def is_publishing(manager: Any) -> bool:
    """Return True if a manager publishes its changes."""
    return issubclass(manager._queryset_class, PublishingQuerySet)


def _hear_saves(model: Any) -> None:
    original = model.save_base

    @functools.wraps(original)
    def save_base(self: Any, raw: bool = False, **options: Any) -> None:
        publisher = get_publisher(type(self))
        if raw or publisher is None:
            original(self, raw=raw, **options)
            return
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with changes.open_change(publisher, using):
            held = None
            if (
                self.pk is not None
                and not options.get("force_insert")
                and publisher.can_move(options.get("update_fields"))
            ):
                # Keep the note while handlers may move the row, because it may then leave more topics than its present
                # one.
                pk = publisher.read_pk(self.pk)
                held = changes.note_change(publisher, pk, changes.lock_rows(publisher, using, [pk]).get(pk))
            original(self, raw=raw, **options)
            changes.tell_rows(publisher, using, [self.pk])
            del held

    save_base.alters_data = True  # type: ignore[attr-defined]
    model.save_base = save_base


def _hear_deletions(model: type[Model]) -> None:
    pre_delete.connect(expect_deletion, sender=model)
    post_delete.connect(hear_deletion, sender=model)


def _hear_proxy(sender: type[Model], **_: Any) -> None:
    if get_publisher(sender) is not None:
        _hear_deletions(sender)


# Django sends signals about rows of a proxy with the proxy as the sender.
class_prepared.connect(_hear_proxy)
