"""tiny: a method for vemctl that learns one convolution."""

from vemctl_tiny.method import METHOD

__all__ = ["METHOD"]
