"""A user model of the project's own: other key, other name, other table."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class People(BaseUserManager["Person"]):
    def create(self, **fields: object) -> Person:
        person = self.model(**fields)
        person.set_unusable_password()
        person.save(using=self._db)
        return person


class Person(AbstractBaseUser, PermissionsMixin):
    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)

    objects = People()
    USERNAME_FIELD = "email"

    class Meta:
        db_table = "people of the shop"


class Basket(models.Model):
    """Row of the project that goes with its session."""

    session = models.ForeignKey("session_mgmt.ClientSession", on_delete=models.CASCADE)


class Invoice(models.Model):
    """Row of the project that keeps its session."""

    session = models.ForeignKey("session_mgmt.ClientSession", on_delete=models.PROTECT)
