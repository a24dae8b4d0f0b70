"""pssr: point-scanning super-resolution (Fang et al., Nature Methods 2021)."""
