"""Lists of tables that may have millions of rows read a bounded number of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.db.models import BinaryField, JSONField
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.admin import large_tables
from session_mgmt.admin.rows import AuditEntryAdmin
from session_mgmt.models import AuditEntry, SessionEvent, clock

pytestmark = pytest.mark.django_db
TRAIL = "/admin/session_mgmt/auditentry/"
LISTED = [model for model in apps.get_app_config("session_mgmt").get_models() if admin.site.is_registered(model)]


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Five entries, of which the list shows the newest three, two on a page."""
    monkeypatch.setattr(large_tables, "MOST_ROWS", 3)
    monkeypatch.setattr(AuditEntryAdmin, "list_per_page", 2)
    at = clock.read("default")
    AuditEntry.objects.bulk_create([AuditEntry(action=f"did_{number}", at=at) for number in range(5)])


def test_a_list_counts_no_further_than_it_shows(operator: Client, trail: None) -> None:
    with CaptureQueriesContext(connection) as caught:
        last = operator.get(f"{TRAIL}?p=2").context["cl"]
    assert (last.result_count, len(last.result_list)) == (3, 1)
    counts = [each["sql"] for each in caught if "COUNT(" in each["sql"]]
    assert len(counts) == 1
    assert "LIMIT 3" in counts[0]


def test_no_list_can_be_filtered_by_a_column_of_contents_or_secrets(operator: Client) -> None:
    hidden = [(model, field) for model in LISTED for field in model._meta.concrete_fields]
    hidden = [(model, field) for model, field in hidden if isinstance(field, BinaryField | JSONField)]
    assert {"secrets", "payload", "data", "nonce"} <= {field.name for _, field in hidden}
    for model, field in hidden:
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert operator.get(f"{address}?{field.name}__gt=1").status_code == 400, (address, field.name)


def test_a_filter_offers_what_the_newest_rows_have_and_what_was_chosen(operator: Client, trail: None) -> None:
    page = operator.get(TRAIL).content.decode()
    assert [number for number in range(5) if f"?action=did_{number}" in page] == [2, 3, 4]
    chosen = operator.get(f"{TRAIL}?action=did_0")
    assert [entry.action for entry in chosen.context["cl"].result_list] == ["did_0"]
    assert "?action=did_0" in chosen.content.decode()


@pytest.mark.sqlite
@pytest.mark.parametrize("model", LISTED, ids=lambda model: model._meta.model_name)
def test_no_list_counts_or_looks_up_what_it_does_not_show(model: Any, operator: Client) -> None:
    with CaptureQueriesContext(connection) as caught:
        assert operator.get(f"/admin/session_mgmt/{model._meta.model_name}/").status_code == 200
    mine = [each["sql"] for each in caught if f'FROM "{model._meta.db_table}"' in each["sql"]]
    assert [sql for sql in mine if "EXISTS(" in sql] == []
    assert len([sql for sql in mine if "COUNT(" in sql and f"LIMIT {large_tables.MOST_ROWS}" in sql]) == 1


@pytest.mark.sqlite
@pytest.mark.parametrize("model", LISTED, ids=lambda model: model._meta.model_name)
def test_a_search_for_the_id_of_a_session_compares_no_texts(model: Any, operator: Client) -> None:
    registered: Any = admin.site._registry[model]
    is_told = "session\u2019s id" in str(registered.search_help_text).replace("'", "\u2019")
    assert is_told == (registered.session_path is not None)
    if is_told:
        with CaptureQueriesContext(connection) as caught:
            operator.get(f"/admin/session_mgmt/{model._meta.model_name}/", {"q": str(uuid.uuid4())})
        assert [each["sql"] for each in caught if "LIKE" in each["sql"]] == []


@pytest.mark.sqlite
@pytest.mark.parametrize("model", LISTED, ids=lambda model: model._meta.model_name)
def test_a_large_list_is_sorted_by_columns_with_an_index_only(
    model: Any, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_tables, "is_large", lambda rows: True)
    every = ".".join(map(str, range(1, 10)))
    shown = operator.get(f"/admin/session_mgmt/{model._meta.model_name}/", {"o": every}).context["cl"]
    sorted_by = {name.removeprefix("-").replace("pk", model._meta.pk.name) for name in shown.queryset.query.order_by}
    with connection.cursor() as cursor:
        indexes = connection.introspection.get_constraints(cursor, model._meta.db_table).values()
    firsts = {index["columns"][0] for index in indexes if index["columns"]}
    assert {model._meta.get_field(name).column for name in sorted_by} <= firsts | {model._meta.pk.column}


def test_a_list_is_sorted_by_any_column_until_it_is_large(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        lifecycle.create_session()
    for most, first in ((2, "activity__last_active_at"), (1, "-created_at")):
        monkeypatch.setattr(large_tables, "MOST_ROWS", most)
        answer = operator.get("/admin/session_mgmt/clientsession/?o=5")
        assert answer.context["cl"].queryset.query.order_by[0] == first
        assert ("too many rows to sort" in answer.content.decode()) is (most == 1)


def test_what_is_not_offered_for_sorting_is_not_sorted_by_address_either(operator: Client, trail: None) -> None:
    assert operator.get(f"{TRAIL}?o=2").context["cl"].queryset.query.order_by == ("-at", "-pk")


@pytest.mark.parametrize("model", [AuditEntry, SessionEvent])
def test_a_list_of_what_is_never_changed_is_sorted_by_its_index_only(model: Any) -> None:
    columns = admin.site._registry[model].sortable_by
    assert columns is not None
    assert all(model._meta.get_field(name).db_index for name in columns)


@pytest.mark.sqlite
@pytest.mark.parametrize("model", LISTED, ids=lambda model: model._meta.model_name)
def test_no_list_reads_all_values_of_a_column(model: Any, operator: Client) -> None:
    with CaptureQueriesContext(connection) as caught:
        assert operator.get(f"/admin/session_mgmt/{model._meta.model_name}/").status_code == 200
    assert [each["sql"] for each in caught if "SELECT DISTINCT" in each["sql"]] == []
