"""moody: a method for vemctl that smooths, slowly, and fails when it is told to."""

from vemctl_moody.method import METHOD

__all__ = ["METHOD"]
