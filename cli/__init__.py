"""The ``kofn`` command: a client of the public API, and a whole cluster on this machine."""
