"""vsisr: raw lattice light-sheet data to laterally isotropic super-resolution (Meta-rLLS-VSIM)."""

from vemctl_vsisr.method import METHOD

__all__ = ["METHOD"]
