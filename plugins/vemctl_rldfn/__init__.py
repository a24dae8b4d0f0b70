"""rldfn: fusion of the two views of a reflective lattice light-sheet (Meta-rLLS-VSIM)."""
