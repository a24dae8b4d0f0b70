"""Pictures of gray values, from arrays to files; no volumes and no pages are known here."""
