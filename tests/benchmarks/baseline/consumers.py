"""Plain Channels consumers, as its documentation teaches to write them."""

from __future__ import annotations

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import transaction
from django.db.models import F

from tests.benchmarks.baseline.models import Change, Document


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
