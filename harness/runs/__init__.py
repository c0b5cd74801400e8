"""Plan, blocks of fresh worker processes, and the assembly of a run record."""
