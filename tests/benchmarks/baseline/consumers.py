"""Plain Channels consumers, as its documentation teaches to write them."""

from __future__ import annotations

import json
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import connection, transaction
from django.db.models import F

from tests.benchmarks.baseline.models import Change, Document, Whole


class Updates(AsyncJsonWebsocketConsumer):
    """Acknowledges every change after its own transaction of one UPDATE and one INSERT."""

    async def connect(self) -> None:
        self.document = (await Document.objects.acreate()).pk
        await self.accept()

    async def receive_json(self, content: Any, **_: Any) -> None:
        await self.save(content["value"])
        await self.send_json({"ok": True, "seq": content["seq"]})

    @database_sync_to_async
    def save(self, value: str) -> None:
        with transaction.atomic():
            Document.objects.filter(pk=self.document).update(value=value, version=F("version") + 1)
            Change.objects.create(document_id=self.document, value=value)


class Room(AsyncJsonWebsocketConsumer):
    """Everybody is told what anybody says."""

    groups = ["room"]

    async def receive_json(self, content: Any, **_: Any) -> None:
        await self.channel_layer.group_send("room", {"type": "room.message", "data": content["data"]})

    async def room_message(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "message", "data": event["data"]})


class Rewritten(AsyncJsonWebsocketConsumer):
    """One document for everybody, sent whole to who connects; a change loads, changes, saves and tells all of it."""

    async def connect(self) -> None:
        self.document = int(self.scope["url_route"]["kwargs"]["document"])
        self.groups.append(f"document.{self.document}")
        await self.channel_layer.group_add(self.groups[-1], self.channel_name)
        await self.accept()
        await self.send_json({"type": "document", "data": await self.load()})

    @database_sync_to_async
    def load(self) -> Any:
        return Whole.objects.get(pk=self.document).data

    async def receive_json(self, content: Any, **_: Any) -> None:
        told = await self.save(content["value"])
        await self.channel_layer.group_send(self.groups[-1], {"type": "document.changed", "data": told})
        await self.send_json({"ok": True, "seq": content["seq"]})

    async def document_changed(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "document", "data": event["data"]})

    @database_sync_to_async
    def save(self, value: Any) -> Any:
        with transaction.atomic():
            whole = Whole.objects.select_for_update().get(pk=self.document)
            whole.data["field"] = value
            whole.save()
        return whole.data


class InPlace(Rewritten):
    """The change itself is left to PostgreSQL, and only the change is told."""

    @database_sync_to_async
    def save(self, value: Any) -> Any:
        sql = f"UPDATE {Whole._meta.db_table} SET data = jsonb_set(data, '{{field}}', %s) WHERE id = %s"
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, [json.dumps(value), self.document])
        return {"field": value}
