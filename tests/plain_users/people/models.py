"""A user model that has nothing beyond what ``AbstractBaseUser`` asks for."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class Member(AbstractBaseUser):
    slug = models.CharField(primary_key=True, max_length=60)
    last_login = None

    objects = BaseUserManager["Member"]()
    USERNAME_FIELD = "slug"
