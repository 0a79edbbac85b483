"""Authenticated members of a room, as the documentation of Channels teaches: the peer of connects, storms and beats."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.utils import timezone

from tests.benchmarks.baseline.models import Visit

ROOM = "members"


class Member(AsyncJsonWebsocketConsumer):
    """Let the user of a session cookie into a room, tell everybody what anybody says, and answer pings."""

    async def connect(self) -> None:
        if self.scope["user"].is_anonymous:
            await self.close()
            return
        await self.channel_layer.group_add(ROOM, self.channel_name)
        await self.accept()
        await self.send_json({"type": "ready"})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(ROOM, self.channel_name)

    async def receive_json(self, content: Any, **_: Any) -> None:
        if "ask" in content:
            await self.send_json({"type": "answer", "ask": content["ask"]})
        else:
            await self.channel_layer.group_send(ROOM, {"type": "room.message", "data": content["data"]})

    async def room_message(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "said", "data": event["data"]})


class RecordedMember(Member):
    """Keep one row for each connection besides: when it came, when it was last heard, and when it went."""

    async def connect(self) -> None:
        if not self.scope["user"].is_anonymous:
            self.visit = await Visit.objects.acreate(user=self.scope["user"])
        await super().connect()

    async def disconnect(self, code: int) -> None:
        await super().disconnect(code)
        await Visit.objects.filter(pk=self.visit.pk).aupdate(ended_at=timezone.now(), close_code=code)

    async def receive_json(self, content: Any, **_: Any) -> None:
        if "ask" in content:
            await Visit.objects.filter(pk=self.visit.pk).aupdate(heard_at=timezone.now())
        await super().receive_json(content)
