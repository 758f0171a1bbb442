"""Studies of the search: one engine, a module for each of the five."""
