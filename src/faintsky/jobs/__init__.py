"""The public functions that do a whole job: open, compute, write."""
