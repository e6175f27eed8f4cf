"""decoras."""
