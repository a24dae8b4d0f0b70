"""The command line: flags become a request, a workflow carries it out, its events are rendered."""
