"""Recordings of other tools, in and out."""
