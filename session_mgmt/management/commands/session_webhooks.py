"""``manage.py session_webhooks``: endpoints and deliveries of webhooks, by hand or from cron."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from session_mgmt.actions import audit
from session_mgmt.actions.webhooks import endpoints, replaying, sending
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.management.base import ReportCommand, WrongArgument
from session_mgmt.models import WebhookDelivery, WebhookEndpoint, clock

_LIST, _ADD, _SEND, _REPLAY, _ROTATE, _START = "list", "add", "send", "replay", "rotate", "start"
# Options of each action besides --json. Any other is refused: a --dry-run that is ignored would really send.
_OPTIONS = {
    _LIST: set[str](),
    _ADD: {"address", "event", "tenant"},
    _SEND: set[str](),
    _REPLAY: {"endpoint", "session", "state", "hours", "dry_run"},
    _ROTATE: {"endpoint", "at_once", "dry_run"},
    _START: {"endpoint", "dry_run"},
}
_STATES = {"dead": ("dead",), "sent": ("sent",), "all": ("dead", "sent")}
_EVERY = 100
# A century.
_MOST_HOURS = 876_000


class Command(ReportCommand):
    help = (
        "List the endpoints of webhooks with counts of deliveries, add an endpoint, send due deliveries, replay"
        " deliveries, rotate a secret, or start a stopped endpoint."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("do", choices=tuple(_OPTIONS), help=", ".join(_OPTIONS))
        parser.add_argument("--address", help="add: its address, which begins with https://.")
        parser.add_argument(
            "--event", action="append", default=[], help="add: a type of events to send; may be repeated."
        )
        parser.add_argument("--tenant", default="", help="add: send only events of this tenant's sessions.")
        parser.add_argument("--endpoint", type=_read_key, help="rotate, replay, start: number of an endpoint.")
        parser.add_argument("--session", type=uuid.UUID, help="replay: only deliveries of this session.")
        parser.add_argument("--state", choices=_STATES, default="dead", help="replay: dead (given up), sent or all.")
        parser.add_argument("--hours", type=_read_hours, help="replay: only deliveries of these last hours.")
        parser.add_argument("--at-once", action="store_true", help="rotate: stop signing with the old secret now.")
        parser.add_argument("--dry-run", action="store_true", help="replay, rotate, start: change nothing.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_others(options)
        verbs = {
            _LIST: self._list,
            _ADD: self._add,
            _SEND: self._send,
            _REPLAY: self._replay,
            _ROTATE: self._rotate,
            _START: self._start,
        }
        # A secret is shown once, so a stop between creating and showing it would lose it.
        with self.stops.hold() if options["do"] in (_ADD, _ROTATE) else nullcontext():
            told = verbs[options["do"]](options)
            if options["json"]:
                self.print_json(told)

    def _print(self, text: str) -> None:
        if not self.is_quiet:
            self.stdout.write(text)

    def _list(self, options: dict[str, Any]) -> dict[str, Any]:
        found = [
            {
                "id": row.pk,
                "address": row.address,
                "active": row.active,
                "stopped": row.stopped,
                "events": row.events,
                "tenant": row.tenant,
                **endpoints.count_deliveries(row.pk),
            }
            for row in endpoints.list_endpoints()
        ]
        for row in found:
            state = "active" if row["active"] else f"off: {row['stopped']}" if row["stopped"] else "off"
            counts = ", ".join(f"{row[name]} {name}" for name in WebhookDelivery.State.values)
            self._print(f"{row['id']} {row['address']} ({state}): {counts}; {', '.join(row['events']) or 'all events'}")
        if not found:
            self._print("There is no endpoint.")
        self._tell_if_off()
        return {"webhooks": settings().webhooks, "endpoints": found}

    def _tell_if_off(self) -> None:
        if not settings().webhooks:
            self._print("Nothing is sent, because SESSION_MGMT['webhooks'] is off.")

    def _add(self, options: dict[str, Any]) -> dict[str, Any]:
        if not options["address"]:
            raise WrongArgument("Name the address with --address.")
        try:
            made = endpoints.add_endpoint(options["address"], options["event"], tenant=options["tenant"])
        except ValueError as error:
            raise WrongArgument(str(error)) from error
        audit.add_entry(audit.ADD_WEBHOOK, endpoint=made.endpoint.pk)
        self.done["added"] += 1
        return self._show_secret(made.endpoint.pk, made.secret)

    def _show_secret(self, pk: int, secret: str) -> dict[str, Any]:
        self._print(f"Endpoint {pk} signs with this secret. It is not shown again:\n{secret}")
        return {"endpoint": pk, "secret": secret}

    def _send(self, options: dict[str, Any]) -> dict[str, Any]:
        # A stop waits for calls in progress, so that their results are stored; otherwise they would be sent again.
        with self.stops.hold_long(self.tell_progress):
            report = sending.send_due(self._count_one, seconds=float("inf"), stop=self.stops.is_waiting).as_dict()
        for name, count in report.items():
            self._print(f"{name:<8} {count}")
        self._tell_if_off()
        return dict(report)

    def _count_one(self, outcome: str) -> None:
        self.done[outcome] += 1
        if self.done.total() % _EVERY == 0 and not self.is_quiet:
            self.tell_progress(f"{self.done.total()} deliveries")

    def _replay(self, options: dict[str, Any]) -> dict[str, Any]:
        hours = options["hours"]
        if options["endpoint"] is not None:
            _check_endpoint(options["endpoint"])
        since = None if hours is None else clock.read(settings().database) - timedelta(hours=hours)
        rows = replaying.find_settled(
            endpoint=options["endpoint"], session=options["session"], states=_STATES[options["state"]], since=since
        )
        if options["dry_run"]:
            count = rows.count()
            self._print(f"Deliveries that would be sent again: {count}")
        else:
            try:
                count = replaying.replay(rows, self._count_replayed)
            except KeyboardInterrupt:
                with self.stops.hold():
                    audit.add_entry(audit.REPLAY_WEBHOOKS, deliveries=self.done.total())
                raise
            audit.add_entry(audit.REPLAY_WEBHOOKS, deliveries=count)
            self._print(f"Deliveries that will be sent again: {count}")
        return {"dry_run": options["dry_run"], "replayed": count}

    def _count_replayed(self, count: int) -> None:
        self.done["replayed"] = count
        if not self.is_quiet:
            self.tell_progress(f"{count} deliveries")

    def _rotate(self, options: dict[str, Any]) -> dict[str, Any]:
        pk = _require_endpoint(options)
        if options["dry_run"]:
            self._print(f"Endpoint {pk} would get a new secret.")
            return {"dry_run": True, "endpoint": pk}
        try:
            secret = endpoints.rotate_secret(pk, at_once=options["at_once"])
        except (StateUnreadable, WebhookEndpoint.DoesNotExist) as error:
            raise CommandError(f"{error} Use --at-once to discard the old secret.") from error
        audit.add_entry(audit.ROTATE_WEBHOOK, endpoint=pk, at_once=options["at_once"])
        return self._show_secret(pk, secret)

    def _start(self, options: dict[str, Any]) -> dict[str, Any]:
        pk, dry_run = _require_endpoint(options), options["dry_run"]
        started = endpoints.find_off(pk).exists() if dry_run else endpoints.start_endpoint(pk)
        self.done["started"] += started and not dry_run
        waiting = endpoints.count_deliveries(pk)[WebhookDelivery.State.WAITING]
        if started:
            self._print(f"Endpoint {pk} {'would be' if dry_run else 'is'} switched on. Waiting deliveries: {waiting}.")
        else:
            self._print(f"Endpoint {pk} is already on.")
        self._tell_if_off()
        return {"dry_run": dry_run, "endpoint": pk, "started": started, "waiting": waiting}


def _refuse_others(options: dict[str, Any]) -> None:
    initial: dict[str, Any] = {name: None for names in _OPTIONS.values() for name in names}
    initial |= {"event": [], "tenant": "", "state": "dead", "at_once": False, "dry_run": False}
    for name, value in initial.items():
        if name not in _OPTIONS[options["do"]] and options[name] != value:
            takers = ", ".join(do for do, names in _OPTIONS.items() if name in names)
            raise WrongArgument(f"{options['do']} does not accept --{name.replace('_', '-')}. It is for: {takers}.")


def _require_endpoint(options: dict[str, Any]) -> int:
    if options["endpoint"] is None:
        raise WrongArgument("Name an endpoint with --endpoint. `session_webhooks list` shows their numbers.")
    return _check_endpoint(options["endpoint"])


def _check_endpoint(pk: int) -> int:
    if not endpoints.list_endpoints().filter(pk=pk).exists():
        raise CommandError(f"There is no endpoint {pk}. `session_webhooks list` shows their numbers.")
    return pk


def _read_key(text: str) -> int:
    key = int(text) if text.isdecimal() else 0
    if not 0 < key < 2**63:
        raise ArgumentTypeError(f"{text!r} is not the number of an endpoint.")
    return key


def _read_hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1
    # NaN compares false with everything, and would pass another form of this condition.
    if not 0 <= hours <= _MOST_HOURS:
        raise ArgumentTypeError(f"write a number from 0 to {_MOST_HOURS}.")
    return hours
