"""System check of publishing models: checks that are not possible yet when ``@publishes`` runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import router

from session_mgmt.conf import settings
from session_mgmt.protocol.patterns import TopicPattern
from session_mgmt.publishing.declaring import is_publishing
from session_mgmt.publishing.publisher import Publisher, get_publisher
from session_mgmt.registry import registry

# Values that a part may have in patterns of all types, and more parts than any topic should have.
_SAMPLES = ("7041", "3f9c1e7a-52b4-4d08-a6ce-9b71d2f0e358", "Qz_9-jX")
_MOST_PARTS = 4
# Members of a publication about a row that have a plain value.
_FILTERABLE = ("op", "pk")


@register(Tags.models)
def check_publishers(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that the declarations of ``@publishes`` can work (E034)."""
    models = [model for config in app_configs for model in config.get_models()] if app_configs else apps.get_models()
    found: list[CheckMessage] = []
    for model in models:
        publisher = get_publisher(model)
        if publisher is not None:
            found += [
                Error(message, hint=hint, obj=model, id="session_mgmt.E034")
                for message, hint in _list_faults(model, publisher)
            ]
    return found


@register(Tags.models)
def check_followers(**_: Any) -> list[CheckMessage]:
    """Check that the topics of models are declared (W024), since a topic that no app declares is denied to everybody,
    and with keys that their publications have.
    """
    found: list[CheckMessage] = []
    for model in apps.get_models():
        publisher = get_publisher(model)
        if publisher is None or model is not publisher.model or not isinstance(publisher.topic, TopicPattern):
            continue
        text = publisher.topic.text
        if not _is_declared(publisher.topic):
            message = (
                f"{publisher.label} publishes to {text!r}, but no app declares this topic, so nobody can follow it."
            )
            hint = f"Decorate a function in session_topics.py with @topic({text!r})."
            found.append(Warning(message, hint=hint, obj=model, id="session_mgmt.W024"))
            continue
        keys = _list_absent_keys(publisher.topic)
        if keys:
            message = (
                f"The topic {text!r} may be filtered by {', '.join(keys)}, which publications of rows do not have."
            )
            hint = f"Remove them from its keys. Such publications can only be filtered by {' and '.join(_FILTERABLE)}."
            found.append(Warning(message, hint=hint, obj=model, id="session_mgmt.W024"))
    return found


def _is_declared(pattern: TopicPattern) -> bool:
    return len(pattern.types) > _MOST_PARTS or any(map(registry.find_topic, _make_names(pattern)))


def _list_absent_keys(pattern: TopicPattern) -> list[str]:
    """List the keys of the declared topic by which no publication of a row can be filtered."""
    found = [registry.find_topic(name) for name in _make_names(pattern)] if len(pattern.types) <= _MOST_PARTS else []
    keys = [key for one in found if one is not None for key in one[0].keys]
    return [key for key in dict.fromkeys(keys) if key not in _FILTERABLE]


def _make_names(pattern: TopicPattern) -> Iterator[str]:
    for values in product(_SAMPLES, repeat=len(pattern.types)):
        try:
            yield pattern.make_topic(dict(zip(pattern.types, values, strict=True)))
        except ValueError:
            # The value does not have the type of that part.
            continue


def _list_faults(model: Any, publisher: Publisher) -> Iterator[tuple[str, str]]:
    options = model._meta
    if options.concrete_model is not publisher.model:
        yield (
            f"{options.label} stores its rows in its own table and in that of {publisher.label}, which publishes.",
            "Put the fields of both into one model, or relate them by OneToOneField.",
        )
        return
    for manager in options.managers:
        if not is_publishing(manager):
            yield (
                f"{options.label}.{manager.name} does not publish its changes.",
                "Derive its class from PublishingManager, or its query set from PublishingQuerySet.",
            )
    if model is not publisher.model:
        return
    written = router.db_for_write(model)
    if written != settings().database:
        yield (
            f"{options.label} is written to the database {written!r}, but sessions are in {settings().database!r}.",
            "No transaction covers both. Use one database, or call publish() yourself after the commit.",
        )
    try:
        publisher.resolve_serializer().check(model)
    except (ImportError, TypeError, ValueError) as error:
        yield f"The serializer of {options.label} cannot be used: {error}", "Write a function, or its dotted path."
    # The fields of a serializer are the project's code, which may fail in any way.
    except Exception as error:
        yield (
            f"The serializer of {options.label} cannot be used: {type(error).__name__}: {error}",
            "It runs without a request. Use a serializer that needs none, or a function of a row.",
        )
    for name in publisher.prefetch:
        first = name.partition("__")[0]
        if not hasattr(model, first):
            yield (
                f"{options.label} has no relation {first!r} to prefetch.",
                "Name relations as for prefetch_related().",
            )
