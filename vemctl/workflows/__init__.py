"""Use cases: what the command line asks for, without parsing and without printing."""
