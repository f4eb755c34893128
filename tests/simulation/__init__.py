"""A deterministic simulation: the real stages and SQL, under a scheduler that a seed decides all for."""
