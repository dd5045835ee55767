"""Conclusions from facts: pure functions from a Recording to an Analysis."""
