"""exem: virtual electron microscopy from expansion microscopy, learned without pairs."""

from vemctl_exem.method import METHOD

__all__ = ["METHOD"]
