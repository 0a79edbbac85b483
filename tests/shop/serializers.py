"""Serializers of the shop."""

from __future__ import annotations

from rest_framework import serializers

from tests.shop.models import Order


class OrderSerializer(serializers.ModelSerializer[Order]):
    class Meta:
        model = Order
        fields = ("id", "customer", "status", "total", "tags", "courier")
