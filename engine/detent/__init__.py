"""Detent."""
