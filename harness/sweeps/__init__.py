"""Designs over many settings of a machine."""
