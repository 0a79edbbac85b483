"""Request bodies: exact types for each field, and no unlisted fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from session_mgmt.exceptions import InvalidField
from session_mgmt.protocol.fields import check_replaced, check_tag
from session_mgmt.protocol.frames import STRATEGIES
from session_mgmt.protocol.scopes import check_scopes

MAX_INTEGER = 2**53 - 1


class Text(serializers.CharField):
    """Text field; no other type is converted to text."""

    def __init__(self, **kwargs: Any) -> None:
        # Do not trim: a client must read back exactly the text that it wrote.
        super().__init__(trim_whitespace=False, **{"allow_blank": True, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """Integer from 0 to 2^53-1; ``true`` and ``"1"`` are refused."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": MAX_INTEGER, **kwargs})

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class Flag(serializers.BooleanField):
    """``true`` or ``false``."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Object(serializers.DictField):
    """JSON object whose content is checked by its reader."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        return data


class Anything(serializers.JSONField):
    """Any JSON value; the parser has checked it already."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_null": True, **kwargs})

    def to_internal_value(self, data: Any) -> Any:
        return data


class Form(serializers.Serializer[Any]):
    """A JSON object with these fields and no others."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise InvalidField("The body is a JSON object.")
        unknown = sorted(data.keys() - self.fields.keys())
        if unknown:
            # Cut the name: it came from the caller, and is sent back and logged.
            name = unknown[0][:100]
            raise InvalidField(f"There is no field {name!r}; {_list_names(self.fields)}.", field=name)
        return super().to_internal_value(data)

    def read_fields(self) -> dict[str, Any]:
        """Return the validated values. Raises ``InvalidField`` with the first invalid ``field``."""
        if not self.is_valid():
            name, found = next(iter(self.errors.items()))
            raise InvalidField(_explain_field(self.fields.get(name), name, found), field=name)
        return dict(self.validated_data)


def _list_names(fields: Iterable[str]) -> str:
    return f"there are {', '.join(fields)}" if fields else "there are none"


def _explain_field(field: Any, name: str, found: Any) -> str:
    """Return what a field must be, in the words of frames; not the texts of DRF, which repeat the value."""
    if field is None:
        return f"{name} is not as it must be."
    is_missing = any(getattr(one, "code", "") == "required" for one in (found if isinstance(found, list) else ()))
    words = f"{_describe_field(field)}{', or null' if field.allow_null else ''}"
    return f"{name} is missing: it is {words}." if is_missing else f"{name} is {words}."


def _describe_field(field: Any) -> str:
    if isinstance(field, serializers.ChoiceField):
        return f"one of {', '.join(map(str, field.choices))}"
    if isinstance(field, Text):
        least = "at most" if field.allow_blank else "1 to"
        return "text" if field.max_length is None else f"text of {least} {field.max_length} characters"
    if isinstance(field, Whole):
        most = "2^53-1" if field.max_value == MAX_INTEGER else field.max_value
        return f"an integer from {field.min_value} to {most}"
    return _FORMS.get(type(field), "JSON")


class SessionForm(Form):
    metadata = Object(required=False)
    config = Object(required=False)
    label = Text(required=False, max_length=200)  # type: ignore[assignment] # serializers have attributes of these names


class Scopes(serializers.ListField):
    """List of scopes, at least one."""

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        return check_scopes(data)


class ScopedForm(SessionForm):
    scopes = Scopes(required=False)


class NarrowForm(Form):
    scopes = Scopes()
    expires_in = Whole(required=False, min_value=1, help_text="Seconds; never beyond the caller's own token.")


class CreationForm(ScopedForm):
    nonce = Text(required=False, allow_blank=False, max_length=43)


class RefreshForm(Form):
    token = Text(allow_blank=False, max_length=200)
    nonce = Text(allow_blank=False, max_length=43)


class KeptForm(Form):
    session = Text(allow_blank=False, max_length=36)
    # None if a cookie is the proof.
    token = Text(required=False, allow_null=True, allow_blank=False, max_length=200)


class EnterForm(Form):
    nonce = Text(allow_blank=False, max_length=43)
    kept = Object(required=False, allow_null=True, help_text="What the page kept: `session` and `token`.")
    previous = Text(required=False, allow_null=True, allow_blank=False, max_length=36)
    choice = serializers.ChoiceField(
        ["claim", "fresh"], required=False, allow_null=True, help_text="The visitor's answer to `ask`."
    )
    user = Text(required=False, allow_null=True, max_length=200, help_text="Whom the page was made for.")
    name = Text(required=False, allow_null=True, max_length=200, help_text="The page's, among those of the site.")
    create = Object(  # type: ignore[assignment] # serializers have a method of this name
        required=False, allow_null=True, help_text="As for `POST sessions/`, if one is made."
    )


class ValidationForm(Form):
    permission = Text(required=False, max_length=200)


class RecoveryForm(Form):
    state = Flag(required=False)
    subscriptions = Flag(required=False)
    maximum_age = Whole(required=False, help_text="Seconds since the session ended.")


class MessageForm(Form):
    # ``null`` in an optional field is none, as in a frame.
    data = Anything()  # type: ignore[assignment]
    key = Text(required=False, allow_null=True, allow_blank=False, max_length=100)


class PublicationForm(Form):
    # ``null`` in an optional field is none, as in a frame.
    data = Anything()  # type: ignore[assignment]
    key = Text(required=False, allow_null=True, allow_blank=False, max_length=100)
    ephemeral = Flag(required=False, allow_null=True)


class ChangeForm(Form):
    """Exactly one of ``ops``, ``merge``, ``patch`` and ``data``; ``null`` in the others is none, as in a frame."""

    ops = Anything(required=False)
    merge = Anything(required=False)
    patch = Anything(required=False)
    data = Anything(required=False)  # type: ignore[assignment]
    base = Whole(required=False, allow_null=True)
    epoch = Text(required=False, allow_null=True, allow_blank=False, max_length=64)
    tag = Text(
        required=False, allow_null=True, max_length=16, help_text="Proves the base: the third part of its position."
    )
    strategy = serializers.ChoiceField(list(STRATEGIES), required=False, allow_null=True)
    atomic = Flag(required=False, allow_null=True, help_text="All operations take effect, or none.")
    replaced = Object(required=False, allow_null=True, help_text="Digests of the replaced values, by path.")
    key = Text(required=False, allow_null=True, allow_blank=False, max_length=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kinds = [kind for kind in ("ops", "merge", "patch", "data") if kind in attrs]
        if len(kinds) != 1:
            raise InvalidField("Exactly one of ops, merge, patch and data.", field="ops")
        if attrs.get("replaced") is not None:
            check_replaced(attrs["replaced"])
        check_tag(attrs.get("tag"), attrs.get("base"))
        return {"kind": kinds[0], "change": attrs.pop(kinds[0]), **attrs}


class SyncForm(Form):
    position = Anything(required=False)
    pending = Anything(required=False, help_text="Changes as of PATCH, each with its key, in their order.")


class NothingForm(Form):
    """``{}``."""


_FORMS: dict[type, str] = {
    Flag: "true or false",
    Object: "a JSON object",
    Anything: "any JSON value",
    Scopes: "a list of scopes, at least one",
}
