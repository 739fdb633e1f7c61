"""A node: the thin shell that stores, sends and serves what the machines in ``model`` decide."""
