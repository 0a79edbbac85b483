"""A shop's models: orders publish, with their tags, and tell nothing of rows in no topic."""

from __future__ import annotations

from typing import Any

from django.db import models

from session_mgmt.shortcuts import publishes


class Customer(models.Model):
    name = models.CharField(max_length=40)


class Tag(models.Model):
    name = models.CharField(max_length=40)


@publishes(
    "orders:{customer}",
    serializer="tests.shop.serializers.OrderSerializer",
    keys=("created", "status", "total"),
    prefetch=("tags",),
)
class Order(models.Model):
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="orders")
    status = models.CharField(max_length=20, default="open")
    total = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    created = models.DateTimeField(null=True)
    number = models.CharField(max_length=20, null=True, unique=True)
    tags = models.ManyToManyField(Tag)
    courier = models.ForeignKey(Tag, null=True, on_delete=models.SET_NULL, related_name="carried")


class UrgentOrder(Order):
    """The same rows by another name."""

    class Meta:
        proxy = True


def name_topic(row: Any) -> str | None:
    """Return the topic of a note; drafts are in none."""
    return None if row.draft else f"notes:{row.folder}"


def serialize_note(row: Any) -> dict[str, Any]:
    """Return what is told of a note."""
    return {"text": row.text, "friends": sorted(friend.pk for friend in row.friends.all())}


@publishes(name_topic, serializer=serialize_note)
class Note(models.Model):
    key = models.SlugField(primary_key=True)
    folder = models.CharField(max_length=20)
    draft = models.BooleanField(default=False)
    text = models.TextField(default="")
    friends = models.ManyToManyField("self")
