"""Algorithms for JSON documents: parsing, operations, merging, storing. Pure: no Django, no clock, no network."""

from __future__ import annotations
