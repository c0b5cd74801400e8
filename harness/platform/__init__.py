"""Facts about the machine, each with its source; None is unknown."""
