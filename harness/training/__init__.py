"""Training of nets: the loop, the optimiser, replicas, and the native kernels' trainer."""
