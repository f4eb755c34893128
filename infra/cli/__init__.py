"""The command `bindery`."""
