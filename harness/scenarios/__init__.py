"""What is timed: train, offline, single_stream."""
