"""Which test does which fault of our plan: processes and infrastructure (F), clients and network (C)."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """Fault, and one test of several that does it with every ``make test``: so often, and by hand so often."""

    number: str
    what: str
    file: str
    test: str
    in_tests: str
    by_hand: str = ""


FAULTS = [
    Fault(
        "F0",
        "No fault: all that clients do, on changing transports",
        "faults/test_transports.py",
        "test_everything_arrives_once_while_connections_are_cut_and_every_client_changes_its_transport",
        "30 changes of the transport",
        "2,000 changes between 30 cuts, on each database",
    ),
    Fault(
        "F1",
        "A server is killed under writes",
        "faults/test_kill.py",
        "test_no_write_is_lost_or_doubled_by_twenty_kills",
        "20 kills",
        "100 kills on each database",
    ),
    Fault(
        "F2",
        "A server is killed right before and right after its commits",
        "faults/test_points.py",
        "test_no_write_is_lost_or_doubled_by_kills_before_and_after_commits",
        "each of 11 commits, before and after",
        "each of 11 commits, before and after, on each database",
    ),
    Fault(
        "F3",
        "A rolling restart of two servers",
        "faults/test_rolling.py",
        "test_a_rolling_restart_loses_nothing_and_tells_each_client_when_to_come_back",
        "2 servers, three times each",
    ),
    Fault(
        "F4",
        "The server is told to end while a function hangs",
        "faults/test_drain.py",
        "test_functions_that_hang_keep_no_server_from_ending_and_their_messages_are_handled_by_the_next_one",
        "4 hanging functions",
    ),
    Fault(
        "F5",
        "A server stands still as a whole, and goes on",
        "faults/test_pauses.py",
        "test_what_a_server_writes_after_it_stood_still_counts_once_or_not_at_all",
        "until 2 pauses meant something",
        "until 20 did, on each database",
    ),
    Fault(
        "F6",
        "Redis is killed, under two servers",
        "faults/test_kill.py",
        "test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed",
        "3 times, with 2 kills of servers",
        "with 6 kills of servers on each database, and in each turn of the rounds",
    ),
    Fault(
        "F7",
        "Redis is flushed",
        "faults/test_kill.py",
        "test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed",
        "6 times, with 2 kills of servers",
        "with 6 kills of servers on each database, and in each turn of the rounds",
    ),
    Fault(
        "F8",
        "Redis is paused",
        "faults/test_kill.py",
        "test_nothing_is_lost_with_two_servers_while_redis_is_killed_and_flushed",
        "3 times, with 2 kills of servers",
        "with 6 kills of servers on each database, and in each turn of the rounds",
    ),
    Fault(
        "F9",
        "Redis accepts and says nothing",
        "faults/test_silent_redis.py",
        "test_clients_of_two_servers_write_and_hear_of_each_other_beside_a_redis_that_says_nothing",
        "10 writes and publications",
    ),
    Fault(
        "F10",
        "PostgreSQL is killed, restarted and paused",
        "faults/test_kill.py",
        "test_nothing_is_lost_and_no_topic_denied_while_postgres_restarts_pauses_and_ends_connections",
        "killed, restarted and paused, with 3 kills of servers",
        "12 times, and in each turn of the rounds",
    ),
    Fault(
        "F11",
        "Connections of the database are ended",
        "faults/test_kill.py",
        "test_nothing_is_lost_and_no_topic_denied_while_postgres_restarts_pauses_and_ends_connections",
        "again and again for up to 1.5 s, with 3 kills of servers",
        "12 times, and in each turn of the rounds",
    ),
    Fault(
        "F12",
        "Every connection of PostgreSQL taken, or SQLite's lock held for longer than anybody waits",
        "faults/test_shortages.py",
        "test_who_asks_a_database_that_gives_nothing_comes_again_and_nothing_is_lost",
        "once, on PostgreSQL also by a pool",
        "18 times under 20 clients",
    ),
    Fault(
        "F13",
        "A full disk",
        "faults/test_shortages.py",
        "test_who_asks_a_database_that_gives_nothing_comes_again_and_nothing_is_lost",
        "once",
        "6 times under 20 clients",
    ),
    Fault(
        "C1",
        "A client is gone between its write and the answer",
        "faults/test_returns.py",
        "test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing",
        "100 deaths",
        "1,000 deaths",
    ),
    Fault(
        "C2",
        "Cuts again and again",
        "faults/test_transports.py",
        "test_everything_arrives_once_while_connections_are_cut_and_every_client_changes_its_transport",
        "5 cuts of everything, on all transports",
        "30 on each transport, and 30 while they change",
    ),
    Fault(
        "C3",
        "A return at once",
        "faults/test_returns.py",
        "test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing",
        "200 returns",
        "1,000 returns",
    ),
    Fault(
        "C4",
        "Returns in a row",
        "faults/test_returns.py",
        "test_a_client_that_dies_with_its_write_on_its_way_and_is_back_at_once_loses_and_doubles_nothing",
        "100 in a row",
        "1,000 in a row",
    ),
    Fault(
        "C5",
        "A return at and past the end of the log",
        "walks/test_reconnect.py",
        "test_a_trimmed_log_is_a_gap_with_its_range",
        "20 places around the end, on both ways",
    ),
    Fault(
        "C6",
        "Positions that lie",
        "walks/test_reconnect.py",
        "test_a_position_that_lies_is_never_recovered",
        "each lie of the table",
    ),
    Fault(
        "C7",
        "A reader that never reads",
        "consumers/test_slow_readers.py",
        "test_a_reader_may_be_closed_at_its_cap",
        "once, on both ways",
    ),
    Fault(
        "C11",
        "Writes that are repeated",
        "walks/test_patch.py",
        "test_a_repeated_update_has_one_effect_and_the_same_answer",
        "once, and 2,000 by the kills of F1",
        "26,000 by the kills of F1",
    ),
    Fault(
        "C12",
        "Two tabs that write one document",
        "walks/test_model.py",
        "test_three_clients_agree_with_the_server_in_the_end",
        "20 walks of 30 steps",
    ),
    Fault(
        "C13",
        "One client in two places at once",
        "faults/test_returns.py",
        "test_of_one_client_in_several_places_at_once_the_newest_writes_and_no_other",
        "100 meetings of 2 to 5 places",
    ),
    Fault(
        "C14",
        "All clients come back at once",
        "faults/test_storm.py",
        "test_nobody_is_lost_in_a_storm_with_a_kill_in_the_middle",
        "300 clients with a kill",
        "the storms of the benchmarks, and any number (SESSION_MGMT_STORM=2000)",
    ),
    Fault(
        "C19",
        "Subscriptions that race publications",
        "faults/test_returns.py",
        "test_each_subscription_beside_publications_goes_on_where_its_verdict_ends",
        "200 subscriptions, and at every await of six",
        "250 subscriptions beside more publications",
    ),
    Fault(
        "C20",
        "Rights that change under a follower",
        "identity/test_rights_in_flight.py",
        "test_of_fifty_rights_that_end_beside_publications_none_lets_a_later_one_through",
        "50 rights that end beside a publication, half of them while a question is being answered",
        "1,000 on each database",
    ),
]
