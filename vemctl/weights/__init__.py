"""Weights: what is published, where it is kept, and how it comes here; nothing is trusted."""

from vemctl.weights.access import Access
from vemctl.weights.resolving import Resolved, absolute, resolve, resolve_file

__all__ = ["Access", "Resolved", "absolute", "resolve", "resolve_file"]
