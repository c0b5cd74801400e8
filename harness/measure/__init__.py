"""Clock, sampling, steady state, statistics and verdicts; pure."""
