"""How many cores, which SMT level and what entitlement serve a demand: capacity curves, queues, partitions."""
