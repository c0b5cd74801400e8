"""What the pinned CPUs can reach, and how near kernels and workloads come to it."""
