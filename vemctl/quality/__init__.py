"""How good restored images are, measured against what they should be."""
