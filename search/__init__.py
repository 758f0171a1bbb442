"""How genomes are found; knows problems, not models."""
