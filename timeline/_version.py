"""The version of the distribution, read by setup.cfg and written into recordings."""

__version__ = "0.1.0"
