"""Helpers on torch that methods share: devices and state dicts."""
