"""pssr: point-scanning super-resolution (Fang et al., Nature Methods 2021)."""

from vemctl_pssr.method import METHOD

__all__ = ["METHOD"]
