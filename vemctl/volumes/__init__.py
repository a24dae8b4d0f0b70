"""The only place that knows file formats: open a volume to read it, create one to write it."""
