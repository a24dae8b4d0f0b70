"""Brings faults to every Python process that finds this."""

import faults

faults.begin()
