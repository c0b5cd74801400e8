"""Batched matrix products, chains of dense layers and their training, one interface over several backends."""
