"""A saved model behind HTTP: its protocols, its front, its limits."""
