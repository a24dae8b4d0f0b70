"""Restore and super-resolve microscopy volumes; `vemctl --help` is the way in.

This module imports nothing, so that the command line starts quickly.
"""

__version__ = "0.1.0"
