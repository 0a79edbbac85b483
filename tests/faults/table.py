"""Which test does which fault of our plan: processes and infrastructure (F), clients and network (C)."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """Fault, and one test of several that does it with every ``make test``."""

    number: str
    what: str
    file: str
    test: str


FAULTS = [
    Fault(
        "F0",
        "No fault: all that clients do, on changing transports",
        "faults/test_transports.py",
        "test_everything_arrives_once_while_every_client_changes_its_transport",
    ),
    Fault(
        "F1",
        "A server is killed under writes",
        "faults/test_kill.py",
        "test_no_write_is_lost_or_doubled_by_twenty_kills",
    ),
    Fault(
        "F2",
        "A server is killed right before and right after its commits",
        "faults/test_points.py",
        "test_no_write_is_lost_or_doubled_by_kills_before_and_after_commits",
    ),
    Fault(
        "F3",
        "A rolling restart of two servers",
        "faults/test_rolling.py",
        "test_a_rolling_restart_loses_nothing_and_tells_each_client_when_to_come_back",
    ),
    Fault(
        "F4",
        "The server is told to end while a function hangs",
        "faults/test_drain.py",
        "test_functions_that_hang_keep_no_server_from_ending_and_their_messages_are_handled_by_the_next_one",
    ),
    Fault(
        "F5",
        "A server stands still as a whole, and goes on",
        "faults/test_pauses.py",
        "test_what_a_server_writes_after_it_stood_still_counts_once_or_not_at_all",
    ),
    Fault(
        "F6",
        "Redis is killed, under two servers",
        "faults/test_kill.py",
        "test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed",
    ),
    Fault(
        "F7",
        "Redis is flushed",
        "faults/test_kill.py",
        "test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed",
    ),
    Fault(
        "F8",
        "Redis is paused",
        "faults/test_kill.py",
        "test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed",
    ),
    Fault(
        "F9",
        "Redis accepts and says nothing",
        "faults/test_silent_redis.py",
        "test_clients_of_two_servers_write_and_hear_of_each_other_beside_a_redis_that_says_nothing",
    ),
    Fault(
        "F10",
        "PostgreSQL is killed, restarted and paused",
        "faults/test_kill.py",
        "test_nothing_is_lost_and_no_topic_denied_while_postgres_restarts_pauses_and_ends_connections",
    ),
    Fault(
        "F11",
        "Connections of the database are ended",
        "faults/test_kill.py",
        "test_nothing_is_lost_and_no_topic_denied_while_postgres_restarts_pauses_and_ends_connections",
    ),
    Fault(
        "F12",
        "Every connection of PostgreSQL taken, or SQLite's lock held for longer than anybody waits",
        "faults/test_shortages.py",
        "test_who_asks_a_database_that_gives_nothing_comes_again_and_nothing_is_lost",
    ),
    Fault(
        "F13",
        "A full disk",
        "faults/test_shortages.py",
        "test_who_asks_a_database_that_gives_nothing_comes_again_and_nothing_is_lost",
    ),
    Fault(
        "C1",
        "A client is gone between its write and the answer",
        "faults/test_returns.py",
        "test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing",
    ),
    Fault(
        "C2",
        "Cuts again and again",
        "faults/test_transports.py",
        "test_everything_arrives_once_while_connections_are_cut",
    ),
    Fault(
        "C3",
        "A return at once",
        "faults/test_returns.py",
        "test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing",
    ),
    Fault(
        "C4",
        "Returns in a row",
        "faults/test_returns.py",
        "test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing",
    ),
    Fault(
        "C5",
        "A return at and past the end of the log",
        "walks/test_reconnect.py",
        "test_a_trimmed_log_is_a_gap_with_its_range",
    ),
    Fault(
        "C6",
        "Positions that lie",
        "walks/test_reconnect.py",
        "test_a_position_that_lies_is_never_recovered",
    ),
    Fault(
        "C7",
        "A reader that never reads",
        "consumers/test_slow_readers.py",
        "test_a_reader_may_be_closed_at_its_cap",
    ),
    Fault(
        "C11",
        "Writes that are repeated",
        "walks/test_patch.py",
        "test_a_repeated_update_has_one_effect_and_the_same_answer",
    ),
    Fault(
        "C12",
        "Two tabs that write one document",
        "walks/test_model.py",
        "test_three_clients_agree_with_the_server_in_the_end",
    ),
    Fault(
        "C13",
        "One client in two places at once",
        "faults/test_returns.py",
        "test_of_one_client_in_several_places_at_once_the_newest_writes_and_no_other",
    ),
    Fault(
        "C14",
        "All clients come back at once",
        "faults/test_storm.py",
        "test_nobody_is_lost_in_a_storm_with_a_kill_in_the_middle",
    ),
    Fault(
        "C19",
        "Subscriptions that race publications",
        "walks/test_since.py",
        "test_what_is_replayed_and_what_comes_live_meet_while_others_publish_at_every_await",
    ),
    Fault(
        "C20",
        "Rights that change under a follower",
        "identity/test_standing_sockets.py",
        "test_s26_an_answer_on_its_way_while_rights_change_is_asked_again",
    ),
]
