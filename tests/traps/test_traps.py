"""Twenty-four ways in which other systems lost, doubled or leaked events, and the tests that keep this one from them.

A row names its tests; it fails when one of them is renamed or taken away. A new trap gets the next number.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
RECONNECT = "walks/test_reconnect.py"
LIFE = "browser/test_life_cycle.py"
PAGES = "browser/test_traps.py"
# Number: the trap, and by file the tests.
TRAPS: dict[int, tuple[str, dict[str, list[str]]]] = {
    1: (
        "a session that received no event resumes with what came meanwhile",
        {
            RECONNECT: ["test_a_session_that_received_nothing_resumes_and_gets_what_came_meanwhile"],
            PAGES: ["test_trap_1_a_page_that_was_told_nothing_resumes_with_what_came_meanwhile"],
        },
    ),
    2: (
        "a quiet log is kept as long as it is quiet, so that its readers resume",
        {
            "actions/test_rows.py": ["test_a_log_is_trimmed_by_age_but_for_its_newest_entry"],
            PAGES: [
                "test_trap_2_a_page_that_was_connected_for_three_times_the_retention_and_told_nothing_resumes",
            ],
        },
    ),
    3: (
        "a resume uses nothing up for the next",
        {
            RECONNECT: ["test_ten_drops_in_a_row_all_resume_in_full"],
            PAGES: ["test_trap_3_ten_drops_in_a_row_resume_in_full"],
        },
    ),
    4: (
        "a client that comes back before its loss is noticed fences the older connection, and is lost once",
        {
            RECONNECT: [
                "test_the_newer_connection_of_a_client_wins_and_the_older_may_not_write",
                "test_a_connection_that_drops_is_told_once_as_lost",
            ],
            "http_transports/test_races.py": ["test_a_poll_that_was_overtaken_ends_at_once_and_takes_nobodys_place"],
        },
    ),
    5: (
        "a log made anew serves no place of the old one, even where its numbers fit",
        {
            RECONNECT: ["test_a_restored_database_is_noticed_although_the_offset_exists_again"],
            "walks/test_first_publication.py": ["test_a_restored_backup_without_the_stream_is_told_to_live_followers"],
            "actions/test_rows.py": ["test_a_stream_that_came_and_went_behind_a_sleeping_tab_is_told"],
        },
    ),
    6: (
        "after a failed resume no number of before is used",
        {
            RECONNECT: ["test_an_unknown_client_is_forgotten_and_never_made_as_asked"],
            "client/test_core.py": ["test_numbers_that_the_server_has_decided_are_never_given_again"],
        },
    ),
    7: (
        "to leave a log and follow it again during a replay doubles nothing",
        {
            "consumers/test_memory.py": [
                "test_a_log_that_was_left_and_followed_again_comes_once_for_each_time_it_is_read"
            ],
            "client/test_session.py": ["test_a_callback_that_raises_does_not_stop_the_others"],
            "consumers/test_following.py": ["test_leaving_a_log_during_its_replay_leaves_the_receipt_of_the_others"],
            PAGES: ["test_trap_7_a_callback_that_subscribes_anew_and_throws_hears_everything_once"],
        },
    ),
    8: (
        "no entry falls between what was read and what comes live",
        {
            RECONNECT: ["test_replay_in_pages_meets_live_entries_without_hole_or_overlap"],
            "walks/test_first_publication.py": [
                "test_a_first_publication_between_the_verdict_and_the_feed_is_not_missed"
            ],
        },
    ),
    9: (
        "the order of commits, and a rollback, leave no hole",
        {
            "bridge/test_user_transactions.py": [
                "test_commits_out_of_order_leave_no_hole_and_lose_nothing",
                "test_a_rollback_of_a_long_transaction_leaves_no_hole",
            ]
        },
    ),
    10: (
        "every way to publish counts in one order, on every transport",
        {
            "walks/test_publish.py": ["test_direct_and_outbox_publications_share_one_order"],
            "faults/test_transports.py": [
                "test_two_servers_without_a_broker_answer_any_call_once_while_they_are_killed",
                "test_everything_arrives_once_while_connections_are_cut_and_every_client_changes_its_transport",
            ],
        },
    ),
    11: (
        "a layer that drops messages delays by one position check and no more",
        {
            "faults/test_kill.py": ["test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed"],
            "walks/test_heartbeat.py": ["test_a_lost_doorbell_is_made_good_by_the_position_check"],
        },
    ),
    12: (
        "to resume is no way around a right",
        {
            "walks/test_heartbeat.py": ["test_a_revoked_session_is_closed_without_any_doorbell"],
            "http_transports/test_fences.py": ["test_a_topic_that_is_forbidden_between_two_polls_is_denied"],
            "http_transports/test_races.py": ["test_a_token_that_is_voided_ends_a_held_poll_and_the_next_call"],
            "faults/test_logout_elsewhere.py": ["test_s13_a_logout_on_another_process_closes_every_tab"],
        },
    ),
    13: (
        "no token, or an old one, wedges no client",
        {
            "client/test_refreshing.py": [
                "test_tokens_that_cannot_be_stored_are_not_used_and_nobody_waits_for_ever",
                "test_a_machine_that_slept_needs_one_exchange_or_one_recovery",
                "test_two_who_need_new_tokens_make_one_exchange",
            ],
            PAGES: ["test_trap_13_tokens_that_do_not_come_at_first_wedge_no_page"],
        },
    ),
    14: (
        "tabs that refresh at once stay logged in",
        {
            "identity/test_refresh.py": [
                "test_s29_a_stolen_token_gets_the_same_pair_within_the_grace_and_ends_the_session_after_it"
            ],
            "faults/test_token_kill.py": [
                "test_s52_nothing_is_lost_and_one_family_stays_where_kills_interrupt_the_refresh_of_three_tabs"
            ],
            "browser/test_sleep.py": [
                "test_s33_eight_tabs_wake_at_once_with_one_refresh_or_one_recovery_and_lose_nothing"
            ],
        },
    ),
    15: (
        "a page that slept comes back once, where it was",
        {
            "browser/test_sleep.py": [
                "test_s33_eight_tabs_wake_at_once_with_one_refresh_or_one_recovery_and_lose_nothing"
            ],
            "browser/test_frozen_tabs.py": [
                "test_s15_a_frozen_tab_has_nothing_of_a_session_that_ended_meanwhile_when_it_resumes"
            ],
            LIFE: [
                "test_a_frozen_tab_has_everything_when_it_is_looked_at_again",
                "test_a_hidden_tab_whose_timers_come_late_has_everything",
                "test_a_browser_that_is_offline_and_online_again_loses_nothing",
            ],
            "consumers/test_heartbeat.py": ["test_a_process_that_stood_still_counts_nothing_against_the_peer"],
        },
    ),
    16: (
        "writes without an answer take effect once, in order",
        {
            "client/test_core.py": ["test_writes_without_a_receipt_are_sent_again_in_order_after_a_reconnect"],
            "http_transports/test_races.py": [
                "test_a_write_whose_answer_was_lost_at_the_change_is_answered_from_its_receipt",
                "test_a_write_that_was_proved_before_the_next_attachment_uses_up_no_number",
                "test_a_call_whose_client_is_cut_off_takes_effect_once_whatever_was_decided",
            ],
            "browser/test_closed_tabs.py": ["test_two_tabs_share_the_work_of_a_closed_one"],
            LIFE: [
                "test_a_network_that_swallows_everything_is_survived",
                "test_a_reload_in_the_turn_of_a_write_loses_nothing",
            ],
        },
    ),
    17: (
        "a slow reader takes no memory and holds up nobody",
        {
            "consumers/test_slow_readers.py": ["test_a_reader_may_be_closed_at_its_cap"],
            "consumers/test_pages_shared.py": ["test_a_slow_reader_gets_one_page_at_a_time_and_holds_up_nobody"],
            "http_transports/test_streams.py": [
                "test_a_peer_that_takes_nothing_is_let_go_and_what_it_missed_is_in_the_log"
            ],
        },
    ),
    18: (
        "connections of a killed process end, and a short cut is no loss",
        {
            "actions/test_closing.py": ["test_a_process_that_died_with_its_group_is_covered_by_the_leases"],
            RECONNECT: ["test_a_client_that_leaves_and_comes_back_at_once_was_not_lost"],
        },
    ),
    19: (
        "a rolled back publication is seen by nobody",
        {"walks/test_publish.py": ["test_a_rolled_back_publication_never_happened"]},
    ),
    20: (
        "a database that goes back in time is told",
        {
            "faults/test_kill.py": ["test_no_base_of_a_lost_history_is_accepted_after_a_restored_backup"],
            "http_transports/test_races.py": ["test_a_generation_that_a_restored_backup_took_back_replaces_nobody"],
        },
    ),
    21: (
        "a server that ends says so, and one that is killed is missed",
        {
            "faults/test_drain.py": ["test_a_server_that_gets_sigterm_says_good_bye_to_everybody"],
            "faults/test_kill.py": ["test_no_write_is_lost_or_doubled_by_twenty_kills"],
            LIFE: ["test_a_killed_server_loses_nothing"],
        },
    ),
    22: (
        "a hole in a log is told and never passed over",
        {
            RECONNECT: ["test_a_trimmed_log_is_a_gap_with_its_range"],
            "consumers/test_pages_together.py": ["test_a_hole_in_one_log_is_seen_in_its_page_alone"],
        },
    ),
    23: (
        "a subscription that races a reconnect is one subscription",
        {
            "http_transports/test_races.py": ["test_a_subscription_on_its_way_at_the_change_is_one_subscription"],
            PAGES: ["test_trap_23_a_subscription_that_races_a_reconnect_is_one"],
        },
    ),
    24: (
        "position checks end no connection that is in order",
        {
            "consumers/test_positions.py": [
                "test_an_answer_that_entries_have_overtaken_is_no_lost_history",
                "test_logs_that_have_not_moved_are_left_out_and_each_kind_takes_one_query",
            ]
        },
    ),
}


@pytest.mark.parametrize("number", TRAPS)
def test_every_trap_has_its_tests(number: int) -> None:
    _, files = TRAPS[number]
    missing = [f"{file}::{test}" for file, tests in files.items() for test in tests if test not in list_tests(file)]
    assert files and missing == []


def list_tests(file: str) -> set[str]:
    """List the tests of a file."""
    path = TESTS / file
    return set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)) if path.exists() else set()


def test_no_number_is_left_out() -> None:
    assert list(TRAPS) == list(range(1, len(TRAPS) + 1))
