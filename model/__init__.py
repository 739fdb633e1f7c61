"""kofn's decisions as values: pure machines and the primitives under them. No clock, socket, log, thread or database."""
