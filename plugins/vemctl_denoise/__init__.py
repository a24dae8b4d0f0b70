"""denoise: restore fast-scan volume EM with GShiftNet, supervised or self-supervised."""

from vemctl_denoise.method import METHOD

__all__ = ["METHOD"]
