"""Scores of a split, their intervals, and comparisons over seeds."""
