"""Pairs and series of records: what differs, by how much, and since when."""
