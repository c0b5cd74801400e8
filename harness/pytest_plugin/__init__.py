"""The pytest plugin: gates functions and workloads in anyone's test suite."""
