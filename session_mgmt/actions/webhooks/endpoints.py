"""Endpoints of webhooks: who is told of which events, and the secrets that sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

import orjson
from django.db.models import Count

from session_mgmt.actions import audit, vaults
from session_mgmt.actions.webhooks import calling, signing
from session_mgmt.actions.webhooks.recording import known_endpoints
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import WebhookCursor, WebhookDelivery, WebhookEndpoint, clock
from session_mgmt.models.clock import as_text
from session_mgmt.models.isolation import open_transaction
from session_mgmt.protocol.events import EVENT_TYPES

# Old secrets that sign beside the present one: each is a signature in every call.
_MOST_OLD = 4


@dataclass(frozen=True, slots=True)
class Made:
    """Endpoint, and its new secret, which nobody is shown again."""

    endpoint: WebhookEndpoint
    secret: str


class Secret(NamedTuple):
    """Secret of an endpoint, and until when it signs; the present one has no end."""

    secret: str
    until: datetime | None


def check_events(events: Iterable[str]) -> list[str]:
    """Return the types in their usual order. Raises ``ValueError`` for one that there is not."""
    given = list(events)
    for name in given:
        if name not in EVENT_TYPES:
            near = get_close_matches(name, EVENT_TYPES, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The types are {', '.join(EVENT_TYPES)}."
            raise ValueError(f"There is no event type {name!r}. {hint}")
    return [name for name in EVENT_TYPES if name in given]


def _check(address: str, tenant: str) -> None:
    calling.check_address(address)
    for name, value in (("address", address), ("tenant", tenant)):
        field: Any = WebhookEndpoint._meta.get_field(name)
        most = field.max_length
        if len(value) > most or not value.isprintable():
            raise ValueError(f"The {name} has at most {most} characters that can be printed.")


def add_endpoint(address: str, events: Iterable[str] = (), *, tenant: str = "", active: bool = True) -> Made:
    """Add an endpoint; without types it is told of all events. Raises ``ValueError``."""
    _check(address, tenant)
    using, secret = settings().database, signing.make_secret()
    with open_transaction(using):
        endpoint = WebhookEndpoint(
            address=address, events=check_events(events), tenant=tenant, active=active, secrets=b""
        )
        endpoint.created_at = clock.read(using)
        endpoint.save(using=using, force_insert=True)
        # Sealed for its number, which it has only now.
        _store_secrets(endpoint, [Secret(secret, None)])
    known_endpoints.forget()
    return Made(endpoint, secret)


def change_endpoint(endpoint: WebhookEndpoint, address: str, events: Iterable[str], *, active: bool) -> None:
    """Change an endpoint. What waits for it goes to its new address. Raises ``ValueError``."""
    _check(address, endpoint.tenant)
    endpoint.address, endpoint.events, endpoint.active = address, check_events(events), active
    # Somebody has looked at it: what it answered before counts no more.
    endpoint.stopped, endpoint.rests_until = "", None
    endpoint.save(using=settings().database, update_fields=["address", "events", "active", "stopped", "rests_until"])
    known_endpoints.forget()


def stop_endpoint(endpoint: WebhookEndpoint, reason: str) -> None:
    """Switch an endpoint off for what it has answered, unless somebody has changed its address since."""
    using = settings().database
    with open_transaction(using):
        called = WebhookEndpoint.objects.using(using).filter(pk=endpoint.pk, address=endpoint.address, active=True)
        if not called.update(active=False, stopped=reason):
            return
        audit.add_entry(audit.STOP_WEBHOOK, endpoint=endpoint.pk, reason=reason)
    known_endpoints.forget()


def rest_endpoint(endpoint: WebhookEndpoint, until: datetime) -> None:
    """Leave an endpoint alone until then, unless somebody has changed its address since."""
    called = WebhookEndpoint.objects.using(settings().database).filter(pk=endpoint.pk, address=endpoint.address)
    called.update(rests_until=until)


def delete_endpoint(endpoint: WebhookEndpoint) -> None:
    """Delete an endpoint with its deliveries, those that wait among them."""
    using = settings().database
    with open_transaction(using):
        for model in (WebhookDelivery, WebhookCursor):
            model._default_manager.using(using).filter(endpoint=endpoint.pk).delete()
        WebhookEndpoint.objects.using(using).filter(pk=endpoint.pk).delete()
    known_endpoints.forget()


def rotate_secret(pk: int, *, at_once: bool = False, now: datetime | None = None) -> str:
    """Make a new secret and return it. The old one signs beside it for ``webhook_rotation``, or no more at all.

    Those before it keep their time: a second rotation, by a second click, must not cut off a receiver that has been
    promised a day. Raises ``StateUnreadable``, ``WebhookEndpoint.DoesNotExist``.
    """
    using, secret = settings().database, signing.make_secret()
    with open_transaction(using):
        endpoint = WebhookEndpoint.objects.using(using).select_for_update().get(pk=pk)
        now = now or clock.read(using)
        # One that somebody else knows must be able to leave even where the old ones cannot be read.
        before = [] if at_once else _load_secrets(endpoint)
        old = [one._replace(until=one.until or now + settings().webhook_rotation) for one in before]
        kept = [one for one in old if one.until is not None and now < one.until]
        _store_secrets(endpoint, [Secret(secret, None), *kept[:_MOST_OLD]])
    return secret


def read_secrets(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """Return the secrets that sign now, the newest first. Raises ``StateUnreadable``."""
    return [secret for secret, until in _load_secrets(endpoint) if until is None or now < until]


def is_rotating(endpoint: WebhookEndpoint, now: datetime) -> bool:
    """Return whether an old secret signs beside the new one. Raises ``StateUnreadable``."""
    return len(read_secrets(endpoint, now)) > 1


def _load_secrets(endpoint: WebhookEndpoint) -> list[Secret]:
    opened = vaults.open_row(vaults.WEBHOOK, b"", endpoint.pk, bytes(endpoint.secrets))
    try:
        return [Secret(text, until and datetime.fromisoformat(until)) for text, until in orjson.loads(opened)]
    except ValueError as error:
        raise StateUnreadable("The secrets of an endpoint are damaged.") from error


def _store_secrets(endpoint: WebhookEndpoint, secrets: list[Secret]) -> None:
    keys = vaults.find_private_keyring()
    body = orjson.dumps([[text, until and as_text(until)] for text, until in secrets])
    endpoint.secrets = body if keys is None else vaults.seal_row(keys, vaults.WEBHOOK, b"", endpoint.pk, body)
    endpoint.save(using=settings().database, update_fields=["secrets"])


def reseal_secrets(endpoint: WebhookEndpoint) -> None:
    """Put the secrets under the writing key. Raises ``StateUnreadable``."""
    _store_secrets(endpoint, _load_secrets(endpoint))


def count_deliveries(pk: int) -> dict[str, int]:
    """Return the number of an endpoint's deliveries by their state."""
    mine = WebhookDelivery.objects.using(settings().database).filter(endpoint=pk)
    found = dict(mine.order_by().values_list("state").annotate(count=Count("pk")))
    return {state: found.get(state, 0) for state in WebhookDelivery.State.values}


def list_endpoints(tenant: str | None = None) -> Any:
    """Return the endpoints, of one tenant or all."""
    rows = WebhookEndpoint.objects.using(settings().database).order_by("pk")
    return rows if tenant is None else rows.filter(tenant=tenant)
