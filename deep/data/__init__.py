"""Labeled images as arrays."""
