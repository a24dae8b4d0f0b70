"""Who may write an output: locks of the system, and leases where it has none."""
