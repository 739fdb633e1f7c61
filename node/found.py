"""Found a node of a brand-new cluster: ``python -m node.found CONFIG`` creates its empty store, once.

Founding is an explicit act because an empty store means two different things. In a new cluster nobody has promised anything, so
empty nodes may vote. A node that *lost* its store has forgotten promises that others count on: it starts without being founded,
and recovers from its peers before it votes again (PROTO-12).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from node.config import ConfigError, load
from node.schema import StoreError
from node.store import Store


def main(arguments: list[str]) -> int:
    """Exit 0 when the store was created, 1 when it could not be, 2 for wrong usage."""
    if len(arguments) != 1:
        print("usage: python -m node.found CONFIG", file=sys.stderr)
        return 2
    try:
        settings = load(Path(arguments[0]))
        if settings.database.exists():
            raise StoreError(f"{settings.database}: exists already; a node is founded only once")
        os.umask(0o077)
        Store.found(settings.database, settings.id).close()
    except (ConfigError, StoreError) as error:
        print(f"node.found: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
