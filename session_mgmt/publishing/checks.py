"""System check of models that publish: what cannot be checked yet when ``@publishes`` runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import router

from session_mgmt.conf import settings
from session_mgmt.publishing.declaring import is_publishing
from session_mgmt.publishing.publisher import Publisher, get_publisher


@register(Tags.models)
def check_publishers(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that what ``@publishes`` declares can work (E034)."""
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


def _list_faults(model: Any, publisher: Publisher) -> Iterator[tuple[str, str]]:
    options = model._meta
    if options.concrete_model is not publisher.model:
        yield (
            f"{options.label} has its rows in a table of its own and in that of {publisher.label}, which publishes.",
            "Saving either changes the other: put the fields of both into one model, or relate them by OneToOneField.",
        )
        return
    for manager in options.managers:
        if not is_publishing(manager):
            yield (
                f"{options.label}.{manager.name} does not publish what it changes.",
                "Derive its class from PublishingManager, or its query set from PublishingQuerySet.",
            )
    if model is not publisher.model:
        return
    written = router.db_for_write(model)
    if written != settings().database:
        yield (
            f"{options.label} is written to the database {written!r}, and sessions are in {settings().database!r}.",
            "No transaction spans both: keep them in one database, or publish() by hand after the commit.",
        )
    try:
        publisher.resolve_serializer()
    except (ImportError, TypeError, ValueError) as error:
        yield f"The serializer of {options.label} cannot be used: {error}", "Give a function, or a dotted path of one."
    for name in publisher.prefetch:
        first = name.partition("__")[0]
        if not hasattr(model, first):
            yield (
                f"prefetch of {options.label}: it has no relation {first!r}.",
                "Name relations as for prefetch_related().",
            )
