"""Where it runs: plan, apply, verify."""
