"""How fast the vault is, in proportion to a bare Flask route on the same machine in the same minutes: ``python -m benchmarks``."""
