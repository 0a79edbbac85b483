"""The one dict of settings: typed, complete, and read again when it changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from session_mgmt import conf
from session_mgmt.conf import Settings


def test_without_a_dict_every_setting_has_its_default(settings: Any) -> None:
    settings.SESSION_MGMT = {}
    assert conf.settings() == Settings()


def test_a_name_counts_in_capitals_and_in_small_letters(settings: Any) -> None:
    settings.SESSION_MGMT = {"IDLE_TIMEOUT": timedelta(hours=1), "max_ops": 7}
    assert (conf.settings().idle_timeout, conf.settings().max_ops) == (timedelta(hours=1), 7)


def test_a_change_is_seen_at_once_and_its_end_too() -> None:
    with override_settings(SESSION_MGMT={"max_ops": 7}):
        assert conf.settings().max_ops == 7
        with override_settings(SESSION_MGMT={"max_ops": 8}):
            assert conf.settings().max_ops == 8
        assert conf.settings().max_ops == 7
    assert conf.settings().max_ops == Settings().max_ops


def test_another_setting_of_the_project_reads_nothing_again(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_ops": 7}
    before = conf.settings()
    settings.USE_I18N = False
    assert conf.settings() is before


def test_an_unknown_name_is_left_to_the_system_check(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_opps": 7}
    assert conf.settings() == Settings()


@pytest.mark.parametrize("given", [None, [], "yes", 7])
def test_what_is_no_dict_is_left_to_the_system_check(given: Any, settings: Any) -> None:
    settings.SESSION_MGMT = given
    assert conf.settings() == Settings()


def test_nobody_can_change_a_setting_in_passing() -> None:
    with pytest.raises(FrozenInstanceError):
        conf.settings().max_ops = 1  # type: ignore[misc]


def test_every_setting_can_tell_why_its_default_is_what_it_is() -> None:
    assert all("reason" in field.metadata for field in fields(Settings))
