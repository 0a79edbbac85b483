"""URLs of the demo."""

from __future__ import annotations

from django.urls import path

from project.demo import views

app_name = "demo"
urlpatterns = [
    path("", views.show_page, name="page"),
    path("client/<slug:name>/", views.show_client, name="client"),
]
