"""Carry tasks out on many processes, by dask: what is tried again, and who is to blame."""
