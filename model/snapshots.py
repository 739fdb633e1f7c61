"""What a reading makes of the snapshots that it was sent."""

from __future__ import annotations

from msgspec.structs import replace

from model.message import Snapshot
from model.record import Ballot


def merged(before: Snapshot | None, reply: Snapshot) -> Snapshot:
    """Add what a node showed of the target to what it showed before."""
    views = {view.tag: view for view in before.views} if before is not None else {}
    for view in reply.views:
        old = views.get(view.tag, view)
        share, sealed = view.share or old.share, view.sealed or old.sealed
        views[view.tag] = replace(view, chosen=view.chosen or old.chosen, share=share, sealed=sealed)
    return replace(reply, views=tuple(views.values()))


def marked(snapshot: Snapshot, tag: Ballot) -> Snapshot:
    """With the record known to be chosen, where it is shown."""
    return replace(snapshot, views=tuple(replace(view, chosen=True) if view.tag == tag else view for view in snapshot.views))
