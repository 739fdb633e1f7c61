"""The faults that were found on the way, each with the edit that puts it back in and the test that then fails.

    python tests/evidence_bugs.py              which there are
    python tests/evidence_bugs.py NAME         put it back in, in a process of its own, and watch its test fail
    python tests/evidence_bugs.py all          each of them

Exits with 1 if a fault is put back in and its test passes.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from evidence_loading import passes, source_of


class Bug(NamedTuple):
    """``before`` stands once in ``module``; ``after`` in its place is the fault. ``found``: by what."""

    name: str
    fault: str
    found: str
    rule: str
    test: str
    module: str
    before: str
    after: str

    @property
    def faulty(self) -> str:
        """The module's text with the fault in it. Raises ValueError if the module no longer has what mended it."""
        text = source_of(self.module).read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise ValueError(f"{self.module} has {text.count(self.before)} times: {self.before}")
        return text.replace(self.before, self.after)


TLC, SIMULATION, CLUSTER, HISTORIES, ATTACK = "model checking", "simulation", "real stores in one process", "concurrent histories", "attack"

BUGS = (
    Bug(
        "counted-head",
        "a version appeared in the middle of a history already shown, whose head was known by counting alone",
        TLC,
        "PROTO-9",
        "test_judging_lineage.py::test_a_head_that_is_known_by_counting_alone_fences_what_lies_below_it",
        "model.judging",
        "        self._proven.update([tag for tag, header in others if header.group is None and self._is_counted(tag)])\n",
        "",
    ),
    Bug(
        "hearsay-rank",
        "an acknowledged update was overwritten: what a recovered node kept in mind ranked below what it stood on",
        TLC,
        "PROTO-12",
        "test_restoring.py::test_what_is_kept_in_mind_ranks_just_below_the_ballot_it_is_held_under_and_counts_as_no_acceptance",
        "model.restoring",
        "Write(rank, header, None, None)",
        "Write(ZERO, header, None, None)",
    ),
    Bug(
        "hearsay-counted",
        "what a recovered node kept in mind was counted as an acceptance",
        TLC,
        "PROTO-12",
        "test_record.py::test_what_is_held_by_repair_or_by_hearsay_is_not_held_under_a_ballot_that_counts",
        "model.record",
        "return self != ZERO and self.boot >= 0",
        "return self != ZERO",
    ),
    Bug(
        "late-release",
        "a late message of an earlier round ended the lease of a later one",
        SIMULATION,
        "PROTO-4",
        "test_participant.py::test_a_late_release_does_not_end_the_lease_of_a_later_round_nor_anybody_elses",
        "model.participant",
        " and lease.ballot <= ballot",
        "",
    ),
    Bug(
        "late-void",
        "a late message that a record is void dropped it although it had been accepted again since",
        SIMULATION,
        "PROTO-6",
        "test_participant.py::test_a_void_drops_only_what_was_accepted_before_its_vote",
        "model.participant",
        " or held.ballot >= void.ballot",
        "",
    ),
    Bug(
        "stale-void",
        "what one vote found void was said at the end of the proposal, although a later vote of the same proposal had settled it",
        SIMULATION,
        "PROTO-6",
        "test_proposal_doubts.py::test_what_one_vote_found_void_is_not_told_under_the_ballot_of_a_later_one",
        "model.proposal",
        "answers={}, judgement=None, cut=None)",
        "answers={}, cut=None)",
    ),
    Bug(
        "dead-with-a-high-ballot",
        "a chosen record known by repair only was overlooked for a dead one with a higher ballot",
        SIMULATION,
        "PROTO-10",
        "test_judging.py::test_a_chosen_record_that_is_known_by_repair_only_is_not_overlooked_for_a_dead_one_with_a_higher_ballot",
        "model.judging",
        "if tag in self.headers and (tag == newest or (tag > newest and (newest == ZERO or self.headers[tag].names_ancestor(newest))))",
        "if tag in self.headers",
    ),
    Bug(
        "contradicted",
        "a record that does not stand on a chosen one was held possible",
        SIMULATION,
        "PROTO-9",
        "test_judging.py::test_a_newer_record_that_does_not_stand_on_a_chosen_one_is_dead",
        "model.judging",
        "        if self._is_contradicted(tag):\n            return Standing.VOID\n",
        "",
    ),
    Bug(
        "late-write-below-a-head",
        "a history relied on a node that could still accept a late write below the head",
        SIMULATION,
        "SEM-15",
        "test_judging_lineage.py::test_a_history_does_not_rely_on_a_node_that_could_still_accept_a_late_write",
        "model.judging",
        " and (not below or self.voted or _newest_mark(snapshot) > tag)",
        "",
    ),
    Bug(
        "repair-below-a-create",
        "a late repair brought back what lay below the tombstone that a new create stands on",
        SIMULATION,
        "PROTO-5",
        "test_participant.py::test_a_create_on_a_tombstone_erases_what_lies_below_it_and_refuses_its_late_repair",
        "model.participant",
        "        erased = max(erased, header.base)\n",
        "        pass\n",
    ),
    Bug(
        "same-place-in-the-sequence",
        "a dead record older than the base stayed beside the one that took its place in the sequence",
        SIMULATION,
        "PROTO-5",
        "test_participant.py::test_a_dead_record_older_than_the_base_goes_when_its_place_in_the_sequence_is_taken",
        "model.participant",
        " and other.header.sequence < header.sequence",
        "",
    ),
    Bug(
        "doubled-replies",
        "a doubled reply counted against a vote that the node had given",
        SIMULATION,
        "PROTO-3",
        "test_proposal.py::test_a_doubled_reply_is_counted_once",
        "model.proposal",
        "case Phase.VOTING, Vote(), _ if current and node not in proposal.answers:",
        "case Phase.VOTING, Vote(), _ if current:",
    ),
    Bug(
        "other-rewrites",
        "a reader that writes a record again counted acceptances of another rewrite",
        SIMULATION,
        "PROTO-16",
        "test_reading_doubts.py::test_only_acceptances_of_this_very_rewrite_count_and_each_once",
        "model.reading",
        "case Phase.REWRITING, Write(), Accepted() if reading.rewritten == (message.ballot, message.header):",
        "case Phase.REWRITING, Write(), Accepted():",
    ),
    Bug(
        "uncompared-value",
        "a retry whose value could not be compared, too few shares being at hand, was taken for the same",
        CLUSTER,
        "SEM-20",
        "test_retrying.py::test_with_too_few_shares_to_compare_the_value_nothing_is_said",
        "model.retrying",
        "    if sealed is None or len(shares) < header.threshold:\n        return None\n",
        "    if sealed is None or len(shares) < header.threshold:\n        return True\n",
    ),
    Bug(
        "worse-repair",
        "a repair with a share that does not match its commitment replaced one that was held",
        SIMULATION,
        "PROTO-7",
        "test_participant_repairs.py::test_a_repair_that_does_not_match_its_commitment_never_replaces_anything",
        "model.participant",
        "(is_sound(seat, before) or not is_sound(seat, held))",
        "is_sound(seat, before)",
    ),
    Bug(
        "forgotten-attempt",
        "a delete kept no digest of an update in doubt below the latest version, so that its retry, after a new create, wrote it twice",
        HISTORIES,
        "SEM-22",
        "test_proposal_retries.py::test_a_retry_of_an_attempt_that_was_deleted_in_doubt_stays_in_doubt",
        "model.retrying",
        "if standing is Standing.VOID or (",
        "if standing is not Standing.CHOSEN or (",
    ),
    Bug(
        "final-conflict",
        "while others held the secret, a retry that could not be compared was refused for good instead of being asked again",
        CLUSTER,
        "SEM-20",
        "test_proposal_retries.py::test_while_others_hold_the_secret_what_cannot_be_compared_may_be_asked_again",
        "model.proposal",
        "asked_again = RETRY_MS if slow or proposal.contended else None",
        "asked_again = RETRY_MS if slow else None",
    ),
    Bug(
        "recovering-settler",
        "a recovering node could not settle what was in doubt elsewhere, since it may not vote itself, and so never came back",
        CLUSTER,
        "PROTO-12",
        "test_proposal.py::test_a_coordinator_without_a_vote_of_its_own_may_still_settle_for_others",
        "model.intent",
        'return self.verb not in ("settle", "decide")',
        "return True",
    ),
    Bug(
        "unfenced-answers",
        "a recovering node took a record for dead since one not fenced did not hold it yet; an acknowledged update was denied",
        SIMULATION,
        "PROTO-12",
        "test_restoring.py::test_of_a_node_that_was_not_fenced_nothing_follows_from_what_it_does_not_hold",
        "model.restoring",
        " if node in fenced}",
        "}",
    ),
    Bug(
        "lower-doubt",
        "of two updates in doubt below a delete the lower one was told to have been made, though histories had shown that it never was",
        ATTACK,
        "SEM-22",
        "test_retrying.py::test_of_two_doubts_below_a_delete_only_the_upper_one_is_taken_for_made",
        "model.retrying",
        "if header.tag == top",
        "if header.tag in doubts",
    ),
    Bug(
        "emptied-holders",
        "a late message that an update was void took it away below a newer one, after a history had shown it; its retry wrote it again",
        ATTACK,
        "PROTO-6",
        "test_late_messages.py::test_a_late_void_takes_nothing_away_that_a_history_has_shown",
        "model.participant",
        "held.header.tag <= newest or ",
        "held.chosen or ",
    ),
    Bug(
        "oldest-outcome",
        "a key that was forgotten and used anew got the outcome of its first use from a node that had been away",
        ATTACK,
        "SEM-22",
        "test_late_messages.py::test_a_key_used_anew_after_it_was_forgotten_gets_its_newest_outcome",
        "model.retrying",
        ", reverse=True",
        "",
    ),
    Bug(
        "shareless",
        "a chosen record too few shares of which were left was not taken over by a recovering node, which then helped to outvote it",
        CLUSTER,
        "PROTO-12",
        "test_repairer.py::test_a_version_that_cannot_be_rebuilt_is_at_least_known_of",
        "model.restoring",
        "or node not in header.placement:\n        return (Repair(header, None, None),)\n",
        "or node not in header.placement:\n        return ()\n",
    ),
    Bug(
        "missed-deletion",
        "a node that was away during a delete and a new create, and got the latest version alone, never erased the old shares",
        CLUSTER,
        "PROTO-13",
        "test_repairer.py::test_a_node_that_missed_a_deletion_and_a_new_create_erases_though_it_has_the_latest_version",
        "model.restoring",
        "header.kind is Kind.TOMBSTONE or tags.issuperset(_stands_on(header))",
        "header.kind is Kind.TOMBSTONE or tags",
    ),
    Bug(
        "log-holds-the-share",
        "an erasure was acknowledged while the write-ahead log still held the share",
        CLUSTER,
        "STORE-7",
        "test_store.py::test_an_erasure_is_not_acknowledged_while_the_log_still_holds_the_share",
        "node.store",
        "            self._must_scrub = not self._scrub_log()\n",
        "            self._scrub_log()\n            self._must_scrub = False\n",
    ),
    Bug(
        "reused-revisions",
        "after a power cut a change got a number that peers had counted already, so that they never asked for it",
        CLUSTER,
        "PROTO-13",
        "test_store.py::test_marks_that_a_power_cut_may_take_back_leave_their_numbers_unused",
        "node.store",
        " + _UNSYNCED_REVISIONS\n",
        "\n",
    ),
    Bug(
        "spoilt-list",
        "a list of messages that cannot be stored spoilt those that shared its transaction",
        CLUSTER,
        "PROTO-3",
        "test_store.py::test_a_list_that_cannot_be_stored_fails_alone",
        "node.turns",
        "if not self._carry_out(turns) and len(turns) > 1:",
        "if not self._carry_out(turns) and False:",
    ),
    Bug(
        "spoilt-sealed-value",
        "a node whose sealed value was corrupt, its share being sound, was not repaired",
        ATTACK,
        "STORE-8",
        "test_repairing.py::test_a_corrupt_sealed_value_counts_as_a_missing_shard",
        "model.repairing",
        "whole = sound.keys() - spoiled",
        "whole = sound.keys()",
    ),
    Bug(
        "outsider",
        "whoever had a node's certificate, for an id that is no node of the cluster, could send messages",
        ATTACK,
        "PROTO-3",
        "test_node_api.py::test_a_node_that_is_not_of_the_cluster_is_refused_whatever_its_certificate",
        "node.api",
        " or not coordinator.is_peer(exchange.sender)",
        "",
    ),
    Bug(
        "impossible-time",
        "a gateway could write a time that no clock shows, above which no later write can stand",
        ATTACK,
        "SEM-13",
        "test_node_api.py::test_a_time_that_no_clock_shows_is_refused_and_nothing_is_written",
        "node.checking",
        "        if isinstance(operation, Create | Update | Delete) and not 0 <= operation.now <= MAX_TIME:\n            return False\n",
        "",
    ),
)


def is_noticed(bug: Bug, *, shown: bool = False) -> bool:
    """Whether the bug's test fails with the fault in, and passes without."""
    code = compile(bug.faulty, str(source_of(bug.module)), "exec")
    return passes(bug.module, None, [bug.test]) and not passes(bug.module, code, [bug.test], shown=shown)


def main() -> int:
    asked = sys.argv[1:]
    known = {bug.name: bug for bug in BUGS}
    if not asked:
        print(*(f"{bug.name:28} {bug.fault}" for bug in BUGS), sep="\n")
        return 0
    if unknown := set(asked) - known.keys() - {"all"}:
        print(f"no such fault: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    unnoticed = 0
    for bug in BUGS if "all" in asked else (known[name] for name in asked):
        noticed = is_noticed(bug, shown="all" not in asked)
        print(f"{bug.name:28} {'noticed' if noticed else 'NOT NOTICED'} by {bug.test}", flush=True)
        unnoticed += not noticed
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
