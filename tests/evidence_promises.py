"""What kofn promises, and the faults that it is meant to survive, each with the tests that show it."""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """``rules`` of specs/ that say it exactly, ``tests`` (file::function) that hold it."""

    says: str
    rules: tuple[str, ...]
    tests: tuple[str, ...]


class Fault(NamedTuple):
    """``tests`` inject it; ``note``: what of it is left to chance, or is not injected."""

    name: str
    tests: tuple[str, ...]
    note: str = ""


FUZZ = "test_machines_fuzz.py::test_no_fault_breaks_a_rule_or_an_answer"
EXPLORED = "test_exploration.py::test_no_interleaving_of_a_small_case_breaks_a_rule"
IN_PROCESS = "test_cluster_machine.py::test_the_cluster_keeps_every_promise_through_crashes_lost_messages_and_lost_disks"
HAVOC = "test_concurrent_histories.py::test_concurrent_clients_see_one_order_per_secret_while_nodes_die_and_stand_still"
CLOCKS = "test_concurrent_histories.py::test_gateways_whose_clocks_are_apart_keep_one_order_per_secret"
PARTITIONED = "test_partitions.py::test_concurrent_clients_see_one_order_per_secret_while_the_network_falls_apart"
MINORITY = "test_partitions.py::test_a_majority_serves_and_a_minority_cannot_be_tricked"
REAL_MACHINE = "test_real_machine.py::test_the_oracle_accepts_every_answer_of_a_real_cluster_with_crashes_and_pauses"
STEP_BY_STEP = "test_hostile_kills.py::test_a_node_killed_at_any_step_of_a_write_leaves_it_whole_or_undone_and_a_retry_ends_it"
CARETAKING = "test_hostile_kills.py::test_a_node_killed_at_any_step_of_its_caretaking_loses_nothing_and_goes_on"
REAL_KILLS = "test_hostile_kills.py::test_real_processes_killed_in_the_midst_of_each_flow_leave_every_write_whole_or_undone"
PAUSED = "test_end_to_end.py::test_a_paused_coordinator_leaves_an_unknown_outcome_that_a_retry_settles"

PROMISES = (
    Promise(
        "Any k of n nodes serve everything; with fewer the answer is at once that nothing was done",
        ("PROTO-1", "SEM-7", "SEM-16"),
        (
            "test_end_to_end.py::test_with_any_two_nodes_down_everything_works",
            "test_end_to_end.py::test_with_two_nodes_paused_everything_works_and_once_awake_they_catch_up",
            "test_end_to_end.py::test_with_three_nodes_down_requests_fail_at_once_and_nothing_is_lost_or_written",
            "test_quorum.py::test_quorums_meet_when_the_sets_are_enumerated_one_by_one",
        ),
    ),
    Promise(
        "Each secret is linearizable, unknown outcomes included",
        ("SEM-25", "SEM-8", "SEM-9", "PROTO-9", "PROTO-10", "PROTO-16"),
        (FUZZ, EXPLORED, HAVOC, PARTITIONED, REAL_MACHINE),
    ),
    Promise(
        "Nothing acknowledged is lost",
        ("SEM-6", "SEM-28", "PROTO-3", "PROTO-12"),
        (
            "test_crashes.py::test_five_kills_of_random_nodes_during_a_thousand_operations_lose_nothing_acknowledged",
            "test_end_to_end.py::test_after_stopping_and_starting_everything_everything_is_there",
            "test_store.py::test_what_was_acknowledged_is_there_after_a_restart",
            STEP_BY_STEP,
            CARETAKING,
        ),
    ),
    Promise(
        "A deleted secret never returns, and is physically gone",
        ("SEM-4", "SEM-29", "SEM-30", "PROTO-8", "STORE-7"),
        (
            "test_end_to_end.py::test_after_a_delete_no_file_of_any_node_holds_a_share_or_a_sealed_value",
            "test_coordinator.py::test_after_a_deletion_no_share_is_left_in_any_file_of_any_node",
            "test_repairer.py::test_a_node_that_missed_a_deletion_and_a_new_create_erases_though_it_has_the_latest_version",
            "test_hostile_shares.py::test_nothing_that_was_deleted_comes_back_by_a_message_said_again",
            "test_hostile_disks.py::test_an_old_copy_of_a_database_brings_nothing_deleted_back_and_is_caught_up",
            FUZZ,
        ),
    ),
    Promise(
        "k-1 disks reveal nothing of a value",
        ("STORE-1", "STORE-2", "STORE-3", "STORE-5"),
        (
            "test_shamir.py::test_fewer_than_k_shares_are_consistent_with_every_secret_equally_often",
            "test_coordinator.py::test_the_files_of_k_minus_1_nodes_hold_neither_a_value_nor_k_shares",
            "test_end_to_end.py::test_the_files_of_two_nodes_hold_neither_a_value_nor_enough_shares_to_open_one",
            "test_repairing.py::test_a_missing_shard_is_restored_on_the_same_polynomial",
        ),
    ),
    Promise(
        "Unknown is said to be unknown, and a retry with its key settles it, once",
        ("SEM-8", "SEM-20", "SEM-21", "PROTO-11"),
        (
            PAUSED,
            "test_proposal.py::test_a_write_short_of_its_quorum_has_an_unknown_outcome_never_a_failed_one",
            "test_retrying.py::test_an_attempt_in_doubt_is_an_unknown_outcome",
            STEP_BY_STEP,
            IN_PROCESS,
        ),
    ),
    Promise(
        "A failed vote changed nothing",
        ("SEM-7", "PROTO-11"),
        (
            "test_proposal.py::test_a_lost_vote_writes_nothing",
            "test_coordinator.py::test_with_three_down_nothing_is_written_and_that_is_said_soon",
            "test_end_to_end.py::test_with_three_nodes_down_requests_fail_at_once_and_nothing_is_lost_or_written",
            "test_hostile_disks.py::test_a_full_disk_acknowledges_nothing_and_the_node_goes_on_when_there_is_room",
            FUZZ,
        ),
    ),
    Promise(
        "An older value is never served in place of one that may be newer; never a wrong one",
        ("SEM-16", "PROTO-15", "PROTO-16", "PROTO-17", "STORE-5"),
        (
            "test_reading_doubts.py::test_an_older_version_is_never_shown_in_place_of_one_in_doubt",
            "test_hostile_shares.py::test_with_fewer_than_k_sound_shares_there_is_no_value_and_never_another_one",
            EXPLORED,
        ),
    ),
    Promise(
        "Of any number of creates, or of updates of one version, exactly one wins",
        ("SEM-2", "SEM-27"),
        (
            "test_end_to_end.py::test_of_fifty_clients_that_create_one_name_at_once_exactly_one_wins",
            "test_end_to_end.py::test_of_fifty_updates_of_one_version_at_once_exactly_one_wins",
            EXPLORED,
        ),
    ),
    Promise(
        "Several creates take effect together or not at all",
        ("SEM-19", "PROTO-14"),
        (
            "test_crashes.py::test_groups_are_all_or_nothing_although_their_coordinators_die",
            "test_group.py::test_a_slow_coordinator_cannot_commit_what_a_rival_aborted_first",
            STEP_BY_STEP,
        ),
    ),
    Promise(
        "A history once shown is only added to at its end; versions never change",
        ("SEM-10", "SEM-11", "SEM-15"),
        (
            "test_judging_lineage.py::test_a_history_does_not_rely_on_a_node_that_could_still_accept_a_late_write",
            "test_judging_lineage.py::test_a_head_that_is_known_by_counting_alone_fences_what_lies_below_it",
            EXPLORED,
            FUZZ,
        ),
    ),
    Promise(
        "Times go forward, however wrong the clocks",
        ("SEM-12", "SEM-13"),
        (CLOCKS, "test_version.py::test_times_strictly_increase_whatever_the_clocks_say"),
    ),
    Promise(
        "Repair is unseen, and a node that was away or lost its disk gets back its own share of everything before it counts",
        ("SEM-26", "PROTO-7", "PROTO-12", "PROTO-13", "STORE-8"),
        (
            "test_end_to_end.py::test_a_node_that_was_down_gets_back_every_version_that_it_missed",
            "test_end_to_end.py::test_a_lost_disk_is_recovered_before_the_node_serves_and_then_any_three_nodes_do",
            "test_repairer.py::test_a_recovered_node_refuses_what_it_may_have_promised_before",
            "test_repairing.py::test_two_repairs_that_race_with_an_update_and_a_delete_change_nothing_in_any_order",
        ),
    ),
    Promise(
        "Namespaces are apart; denied and missing cannot be told apart",
        ("SEM-23", "SEM-24"),
        (
            "test_access.py::test_two_tenants_with_the_same_names_never_see_each_other",
            "test_access.py::test_denied_and_missing_cannot_be_told_apart",
        ),
    ),
)

FAULTS = (
    Fault(
        "kill -9 of the coordinator, at each step", (STEP_BY_STEP, CARETAKING, EXPLORED, REAL_KILLS), "real processes: at moments of chance"
    ),
    Fault(
        "kill -9 of any node, at each step",
        (
            STEP_BY_STEP,
            CARETAKING,
            "test_crashes.py::test_five_kills_of_random_nodes_during_a_thousand_operations_lose_nothing_acknowledged",
            HAVOC,
        ),
        "real processes: at moments of chance",
    ),
    Fault(
        "pause of the coordinator or of any node",
        (PAUSED, "test_end_to_end.py::test_with_two_nodes_paused_everything_works_and_once_awake_they_catch_up", HAVOC, EXPLORED),
        "SIGSTOP of real processes at moments of chance; at each step in the exploration, where anybody may stand still",
    ),
    Fault(
        "a coordinator that wakes after its lease",
        (
            PAUSED,
            "test_group.py::test_a_slow_coordinator_cannot_commit_what_a_rival_aborted_first",
            "test_participant.py::test_a_late_release_does_not_end_the_lease_of_a_later_round_nor_anybody_elses",
            FUZZ,
        ),
    ),
    Fault(
        "lost messages",
        (EXPLORED, FUZZ, IN_PROCESS, "test_proposal.py::test_a_write_short_of_its_quorum_has_an_unknown_outcome_never_a_failed_one"),
    ),
    Fault("late messages", (EXPLORED, FUZZ, "test_participant.py::test_a_void_drops_only_what_was_accepted_before_its_vote")),
    Fault(
        "doubled messages",
        (
            EXPLORED,
            FUZZ,
            "test_proposal.py::test_a_doubled_reply_is_counted_once",
            "test_hostile_shares.py::test_old_messages_said_again_are_refused_by_their_ballot",
        ),
    ),
    Fault("a partition, both ways", (MINORITY, PARTITIONED), "where network namespaces are to be had"),
    Fault("a partition, one way", (PARTITIONED, IN_PROCESS, "test_coordinator.py::test_a_one_way_cut_is_survived")),
    Fault(
        "slow links",
        (
            "test_hostile_nodes.py::test_a_node_that_takes_for_ever_is_given_up_and_the_vault_serves",
            "test_gateway_nodes.py::test_a_node_that_answers_too_late_or_drips_is_given_up_at_the_deadline",
            "test_reading.py::test_a_slow_peer_is_replaced_when_patience_is_over",
            FUZZ,
        ),
        "answers that drip or never come, and messages that arrive after most others; no link of limited bandwidth",
    ),
    Fault(
        "a node away during a delete",
        (
            "test_repairer.py::test_erasures_go_on_until_every_node_has_carried_them_out",
            "test_repairer.py::test_a_node_that_missed_a_deletion_and_a_new_create_erases_though_it_has_the_latest_version",
        ),
    ),
    Fault(
        "a node away during an update",
        (
            "test_repairer.py::test_a_node_that_was_away_gets_every_version_that_it_missed",
            "test_end_to_end.py::test_a_node_that_was_down_gets_back_every_version_that_it_missed",
        ),
    ),
    Fault(
        "a node away during a re-create",
        ("test_repairer.py::test_a_node_that_missed_a_deletion_and_a_new_create_erases_though_it_has_the_latest_version",),
    ),
    Fault(
        "a lost disk",
        (
            "test_end_to_end.py::test_a_lost_disk_is_recovered_before_the_node_serves_and_then_any_three_nodes_do",
            "test_repairer.py::test_a_lost_disk_is_recovered_with_all_versions_and_tombstones",
            "test_repairer.py::test_a_write_in_doubt_does_not_keep_a_lost_disk_from_recovering",
            EXPLORED,
            FUZZ,
            IN_PROCESS,
        ),
    ),
    Fault(
        "a corrupt share",
        (
            "test_hostile_shares.py::test_a_share_that_is_not_the_right_one_is_passed_over_and_made_good",
            "test_hostile_shares.py::test_with_fewer_than_k_sound_shares_there_is_no_value_and_never_another_one",
            "test_reading_shares.py::test_a_corrupt_share_is_passed_over_for_a_sound_one",
        ),
    ),
    Fault(
        "a corrupt page",
        (
            "test_hostile_disks.py::test_a_database_that_is_damaged_while_its_node_runs_spoils_no_answer",
            "test_hostile_disks.py::test_a_database_that_is_damaged_while_its_node_is_down_spoils_no_answer",
            "test_store.py::test_a_corrupt_row_spoils_only_its_own_secret",
        ),
    ),
    Fault(
        "a full disk, or one that refuses to write",
        (
            "test_hostile_disks.py::test_a_full_disk_acknowledges_nothing_and_the_node_goes_on_when_there_is_room",
            "test_hostile_disks.py::test_a_disk_that_refuses_to_write_acknowledges_nothing_and_reads_go_on",
            "test_store.py::test_a_disk_that_refuses_acknowledges_nothing_and_changes_nothing",
        ),
    ),
    Fault("gateway clocks an hour apart", (CLOCKS, FUZZ), "one gateway an hour ahead, one an hour behind"),
    Fault("a retry after an unknown outcome", (PAUSED, STEP_BY_STEP, REAL_KILLS, EXPLORED, FUZZ)),
    Fault(
        "two repairs racing with an update and a delete",
        ("test_repairing.py::test_two_repairs_that_race_with_an_update_and_a_delete_change_nothing_in_any_order", EXPLORED, FUZZ),
    ),
    Fault(
        "an old copy of a database put back",
        (
            "test_hostile_disks.py::test_an_old_copy_of_a_database_brings_nothing_deleted_back_and_is_caught_up",
            "test_repairer.py::test_an_old_copy_of_a_database_crashes_nobody_and_is_caught_up",
        ),
        "what such a node had promised since the copy is forgotten: linearizability is not promised then (README)",
    ),
)
