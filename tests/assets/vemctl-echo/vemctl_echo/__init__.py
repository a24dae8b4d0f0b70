"""echo: a method for vemctl that returns its input, brighter or smoother."""

from vemctl_echo.method import METHOD

__all__ = ["METHOD"]
