"""URLs of the demo."""

from __future__ import annotations

from django.urls import path

from project.demo import views

app_name = "demo"
urlpatterns = [
    path("", views.page, name="page"),
    path("client/<slug:name>/", views.client, name="client"),
]
