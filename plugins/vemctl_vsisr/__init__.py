"""vsisr: raw lattice light-sheet data to laterally isotropic super-resolution (Meta-rLLS-VSIM)."""
