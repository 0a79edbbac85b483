"""Publisher of a model: the topic of each row, and the data that is published about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from django.db.models import Field, ForeignKey, Model
from django.utils.module_loading import import_string

from session_mgmt.actions.encoding import encode_python, telling_place
from session_mgmt.protocol.patterns import TopicPattern, is_topic
from session_mgmt.protocol.row_keys import write_value
from session_mgmt.user_code import call_sync, check_function

NUMBER, DECIMAL, TEXT, BOOLEAN = "number", "decimal", "text", "boolean"
_NUMBERS = ("Integer", "SmallInteger", "PositiveInteger", "PositiveSmallInteger")
_DECIMALS = ("BigInteger", "PositiveBigInteger", "Decimal", "Duration", "Float")
_AUTOMATIC = ("Auto", "BigAuto", "SmallAuto")
_TEXTS = ("Char", "Text", "Slug", "Email", "URL", "UUID", "Date", "DateTime", "Time", "FilePath")
# How clients compare the values of a field. Numbers that JSON cannot represent exactly are sent as text, but no
# database has counted its automatic keys so far yet.
_KINDS: Final = {
    **dict.fromkeys((f"{name}Field" for name in (*_NUMBERS, *_AUTOMATIC)), NUMBER),
    **dict.fromkeys((f"{name}Field" for name in _DECIMALS), DECIMAL),
    **dict.fromkeys((f"{name}Field" for name in _TEXTS), TEXT),
    "BooleanField": BOOLEAN,
}
# On the model's class, so that its subclasses (proxies) have it too.
_ATTRIBUTE: Final = "_session_mgmt_publisher"


class _Plain:
    """Serializer that is a function of a row."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def check(self, model: type[Model]) -> None:
        """Accept every model: only a call shows what a function does with a row."""

    def serialize(self, rows: Sequence[Model]) -> list[Any]:
        return [call_sync(self._function, row) for row in rows]


class _OfRestFramework:
    """Serializer of REST framework, used for many rows at once and without a request."""

    def __init__(self, serializer: Any) -> None:
        self._serializer = serializer

    def check(self, model: type[Model]) -> None:
        """Check that the serializer can be made without a request, and is for this model. Raises ``TypeError``, or what
        the serializer raises.
        """
        from rest_framework.relations import HyperlinkedRelatedField

        name = self._serializer.__qualname__
        theirs = getattr(getattr(self._serializer, "Meta", None), "model", None)
        if theirs is not None and not issubclass(model, theirs):
            raise TypeError(f"{name} is for rows of {theirs._meta.label}.")
        fields = getattr(self._serializer(), "fields", {})
        urls = [field for field, kind in fields.items() if isinstance(kind, HyperlinkedRelatedField)]
        if urls:
            raise TypeError(f"{name} makes a URL for {urls[0]!r}, which needs a request; publications have none.")

    def serialize(self, rows: Sequence[Model]) -> list[Any]:
        data = self._serializer(rows, many=True).data
        if not isinstance(data, list) or len(data) != len(rows):
            raise TypeError(f"{self._serializer.__qualname__} of many rows gives no list with one value for each.")
        return data


@dataclass(frozen=True)
class Publisher:
    """Describes how a model publishes its rows. ``keys`` are names of fields, without the primary key."""

    model: type[Model]
    topic: TopicPattern | Callable[[Any], str | None]
    serializer: Any
    keys: tuple[str, ...]
    prefetch: tuple[str, ...] = ()

    def topic_of(self, row: Any) -> str | None:
        """Return the row's topic; ``None`` if it is in none, because a field of the pattern is null."""
        if isinstance(self.topic, TopicPattern):
            values = {name: getattr(row, attname) for name, attname in self.topic_fields.items()}
            if None in values.values():
                return None
            return self.topic.make_topic({name: str(value) for name, value in values.items()})
        topic = call_sync(self.topic, row)
        if topic is not None and not is_topic(topic):
            raise TypeError(
                f"topic of {self.label}: {topic!r} is no topic; return text of 1 to 255 characters, or None."
            )
        return topic

    def left_by(self, row: Any) -> str | None:
        """Return the topic that a stored row leaves; None also if its values make no valid topic.

        Such a row is older than the declaration and was never published, but it can be changed and deleted.
        """
        if not isinstance(self.topic, TopicPattern):
            topic = call_sync(self.topic, row)
            return topic if is_topic(topic) else None
        with suppress(ValueError):
            return self.topic_of(row)
        return None

    def key_of(self, row: Any) -> dict[str, Any]:
        """Return the row's keys as JSON, by name; the primary key comes last."""
        return {name: write_value(self.find_field(name).value_from_object(row)) for name in self.kinds}

    def pk_of(self, row: Any) -> str:
        """Return the row's primary key as text."""
        return write_pk(row.pk)

    def read_pk(self, value: Any) -> Any:
        """Return a primary key as the database returns it, because an instance may have text in place of a number."""
        return self.pk.to_python(value)

    def serialize(self, rows: Sequence[Any]) -> list[Any]:
        """Return the data to publish about these rows, as JSON values. Raises ``InvalidJSON``."""
        given = self._resolved.serialize(rows)
        # A serializer returns times as text, and every other value by the rules of publications.
        with telling_place():
            return [encode_python(value) for value in given]

    def can_move(self, changed: Iterable[str] | None) -> bool:
        """Return True if a change of these fields (None for any field) may move a row to another topic."""
        if not isinstance(self.topic, TopicPattern):
            # A function may read any field.
            return True
        moving = {attname for attname in self.topic_fields.values() if attname != self.pk.attname}
        if changed is None:
            return bool(moving)
        return not moving.isdisjoint(self.find_field(name).attname for name in changed)

    def find_field(self, name: str) -> Any:
        """Return the field of this name. Raises ``FieldDoesNotExist``."""
        return self.pk if name == "pk" else self.model._meta.get_field(name)

    def resolve_serializer(self) -> Any:
        """Find the serializer. Raises ``ImportError`` or ``TypeError``."""
        return self._resolved

    @property
    def pk(self) -> Field[Any, Any]:
        """Return the field of the primary key."""
        return self.model._meta.pk

    @property
    def label(self) -> str:
        """Return the model's label, which contains its app."""
        return self.model._meta.label

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Return how values of each key are compared; the primary key comes last."""
        fields = {name: self.find_field(name) for name in self.keys} | {self.pk.name: self.pk}
        return {name: find_kind(field) or TEXT for name, field in fields.items()}

    @cached_property
    def topic_fields(self) -> dict[str, str]:
        """Return the attribute that holds the value of each part of the topic's pattern."""
        assert isinstance(self.topic, TopicPattern)
        return {name: self.find_field(name).attname for name in self.topic.types}

    @cached_property
    def _resolved(self) -> _Plain | _OfRestFramework:
        return read_serializer(self.label, self.serializer)


def read_serializer(label: str, given: Any) -> Any:
    """Return the serializer for a function, a class of REST framework, or the dotted path of either."""
    found = import_string(given) if isinstance(given, str) else given
    if not isinstance(found, type):
        check_function(found, f"serializer of {label}", "row")
        return _Plain(found)
    # A class given directly is imported already; otherwise models must not wait for REST framework.
    from rest_framework.serializers import BaseSerializer

    if not issubclass(found, BaseSerializer):
        raise TypeError(f"serializer of {label} is a serializer of REST framework or a function, not {found!r}.")
    return _OfRestFramework(found)


def find_kind(field: Any) -> str | None:
    """Return how values of a field are compared: ``number``, ``decimal``, ``text`` or ``boolean``.

    Returns None if the values have no order that clients can reproduce.
    """
    while isinstance(field, ForeignKey):
        # Before a model is loaded, its name is in its place.
        target = field.remote_field.model
        if isinstance(target, str):
            return NUMBER
        field = field.target_field
    return _KINDS.get(field.get_internal_type())


def write_pk(value: Any) -> str:
    """Return a primary key as text."""
    return str(write_value(value))


def get_publisher(model: type[Model]) -> Publisher | None:
    """Return the publisher of a model; None if it does not publish."""
    found = getattr(model, _ATTRIBUTE, None)
    return found if isinstance(found, Publisher) else None


def set_publisher(publisher: Publisher) -> None:
    """Set the publisher of a model and its proxies."""
    setattr(publisher.model, _ATTRIBUTE, publisher)
