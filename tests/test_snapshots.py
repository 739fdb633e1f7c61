"""What a reading makes of the snapshots that it was sent."""

from __future__ import annotations

from msgspec.structs import replace
from scenes import ballot, cut_of, header_of, snapshot, view

from model.message import View
from model.snapshots import marked, merged

ONE, TWO = cut_of(header_of(1)), cut_of(header_of(2))
SHOWN = view(ONE, "n1")
BARE = replace(SHOWN, share=None, sealed=None)


def views(*parts: View) -> tuple[View, ...]:
    return snapshot(*parts).views


def test_the_first_snapshot_of_a_node_is_taken_as_it_is() -> None:
    assert merged(None, snapshot(SHOWN)) == snapshot(SHOWN)


def test_a_later_snapshot_adds_what_it_shows() -> None:
    assert merged(snapshot(BARE), snapshot(SHOWN)).views == views(SHOWN)
    assert merged(snapshot(SHOWN), snapshot(view(TWO, "n1"))).views == views(SHOWN, view(TWO, "n1"))


def test_what_was_shown_is_not_lost_because_a_later_snapshot_does_not_repeat_it() -> None:
    assert merged(snapshot(replace(SHOWN, chosen=True)), snapshot(BARE)).views == views(replace(SHOWN, chosen=True))
    assert merged(snapshot(replace(SHOWN, sealed=None)), snapshot(replace(SHOWN, share=None))).views == views(SHOWN)


def test_a_later_snapshot_is_the_truth_about_everything_else() -> None:
    later = snapshot(replace(BARE, ballot=ballot(9)), promised=9, erased=ballot(3), lease_ms=5)
    assert merged(snapshot(SHOWN, promised=1), later) == replace(later, views=views(replace(SHOWN, ballot=ballot(9))))
    assert merged(snapshot(BARE), snapshot(replace(BARE, chosen=True))).views == views(replace(BARE, chosen=True))


def test_a_record_that_is_known_to_be_chosen_is_marked_where_it_is_shown() -> None:
    both = snapshot(SHOWN, view(TWO, "n1"), promised=2)
    assert marked(both, ONE.header.tag) == replace(both, views=(replace(SHOWN, chosen=True), view(TWO, "n1")))
    assert marked(both, ballot(7)) == both
