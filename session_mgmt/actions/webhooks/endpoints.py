"""Endpoints of webhooks: which events each one receives, and the secrets that sign its calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
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

# Most old secrets that sign beside the current one, because each adds a signature to every call.
_MOST_OLD = 4


@dataclass(frozen=True, slots=True)
class Made:
    """Endpoint and its new secret, which is never shown again."""

    endpoint: WebhookEndpoint
    secret: str = field(repr=False)


class Secret(NamedTuple):
    """Secret of an endpoint, and the time until which it signs; ``None`` for the current one."""

    secret: str
    until: datetime | None

    def __repr__(self) -> str:
        return f"Secret(until={self.until!r})"


def check_events(events: Iterable[str]) -> list[str]:
    """Return the event types in their usual order. Raises ``ValueError`` for an unknown type."""
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
    """Add an endpoint; without ``events`` it receives all types of events. Raises ``ValueError``."""
    _check(address, tenant)
    using, secret = settings().database, signing.make_secret()
    with open_transaction(using):
        endpoint = WebhookEndpoint(
            address=address, events=check_events(events), tenant=tenant, active=active, secrets=b""
        )
        endpoint.created_at = clock.read(using)
        endpoint.save(using=using, force_insert=True)
        # The secrets are encrypted for the row's id, which exists only after the insert.
        _store_secrets(endpoint, [Secret(secret, None)])
    known_endpoints.forget()
    return Made(endpoint, secret)


def change_endpoint(endpoint: WebhookEndpoint, address: str, events: Iterable[str], *, active: bool) -> None:
    """Change an endpoint. Deliveries that wait are sent to the new address. Raises ``ValueError``."""
    _check(address, endpoint.tenant)
    endpoint.address, endpoint.events, endpoint.active = address, check_events(events), active
    # A person has edited the endpoint, so its earlier answers no longer matter.
    endpoint.stopped, endpoint.rests_until = "", None
    endpoint.save(using=settings().database, update_fields=["address", "events", "active", "stopped", "rests_until"])
    known_endpoints.forget()


def stop_endpoint(endpoint: WebhookEndpoint, reason: str) -> None:
    """Deactivate an endpoint because of its answer, unless its address was changed since the call."""
    using = settings().database
    with open_transaction(using):
        called = WebhookEndpoint.objects.using(using).filter(pk=endpoint.pk, address=endpoint.address, active=True)
        if not called.update(active=False, stopped=reason):
            return
        audit.add_entry(audit.STOP_WEBHOOK, endpoint=endpoint.pk, reason=reason)
    known_endpoints.forget()


def find_off(pk: int) -> Any:
    """Return the endpoint as a query that is empty if it is on."""
    return WebhookEndpoint.objects.using(settings().database).filter(pk=pk, active=False)


def start_endpoint(pk: int) -> bool:
    """Switch an endpoint on again, so that deliveries that wait are sent; return False if it was on."""
    with open_transaction(settings().database):
        if not find_off(pk).update(active=True, stopped="", rests_until=None):
            return False
        audit.add_entry(audit.START_WEBHOOK, endpoint=pk)
    known_endpoints.forget()
    return True


def rest_endpoint(endpoint: WebhookEndpoint, until: datetime) -> None:
    """Send nothing to an endpoint until a time, unless its address was changed since the call."""
    called = WebhookEndpoint.objects.using(settings().database).filter(pk=endpoint.pk, address=endpoint.address)
    called.update(rests_until=until)


def delete_endpoint(endpoint: WebhookEndpoint) -> None:
    """Delete an endpoint with all its deliveries, including those that wait."""
    using = settings().database
    with open_transaction(using):
        for model in (WebhookDelivery, WebhookCursor):
            model._default_manager.using(using).filter(endpoint=endpoint.pk).delete()
        WebhookEndpoint.objects.using(using).filter(pk=endpoint.pk).delete()
    known_endpoints.forget()


def rotate_secret(pk: int, *, at_once: bool = False, now: datetime | None = None) -> str:
    """Make a new secret and return it. The old one also signs for ``webhook_rotation``, or not at all with ``at_once``.

    Older secrets keep their times: a second rotation, for example by a second click, must not shorten the time that a
    receiver was promised. Raises ``StateUnreadable`` or ``WebhookEndpoint.DoesNotExist``.
    """
    using, secret = settings().database, signing.make_secret()
    with open_transaction(using):
        endpoint = WebhookEndpoint.objects.using(using).select_for_update().get(pk=pk)
        now = now or clock.read(using)
        # It must be possible to replace a leaked secret even if the old ones cannot be read.
        before = [] if at_once else _load_secrets(endpoint)
        old = [one._replace(until=one.until or now + settings().webhook_rotation) for one in before]
        kept = [one for one in old if one.until is not None and now < one.until]
        _store_secrets(endpoint, [Secret(secret, None), *kept[:_MOST_OLD]])
    return secret


def read_secrets(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """Return the secrets that sign now, newest first. Raises ``StateUnreadable``."""
    return [secret for secret, until in _load_secrets(endpoint) if until is None or now < until]


def is_rotating(endpoint: WebhookEndpoint, now: datetime) -> bool:
    """Return whether an old secret also signs now. Raises ``StateUnreadable``."""
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
    """Encrypt the secrets with the current writing key. Raises ``StateUnreadable``."""
    _store_secrets(endpoint, _load_secrets(endpoint))


def count_deliveries(pk: int) -> dict[str, int]:
    """Return the number of an endpoint's deliveries by state; states without deliveries are 0."""
    mine = WebhookDelivery.objects.using(settings().database).filter(endpoint=pk)
    found = dict(mine.order_by().values_list("state").annotate(count=Count("pk")))
    return {state: found.get(state, 0) for state in WebhookDelivery.State.values}


def list_endpoints(tenant: str | None = None) -> Any:
    """Return the endpoints of one tenant, or of all."""
    rows = WebhookEndpoint.objects.using(settings().database).order_by("pk")
    return rows if tenant is None else rows.filter(tenant=tenant)
