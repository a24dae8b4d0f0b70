"""Training: patches from volumes, one loop for all methods, and the folder of a run."""
