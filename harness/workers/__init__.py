"""Everything that crosses a process boundary: jobs, outcomes, and the processes that do them."""
