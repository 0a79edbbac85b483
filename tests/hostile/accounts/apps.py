from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "tests.hostile.accounts"
    label = "accounts"
