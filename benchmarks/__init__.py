"""`make bench`: each speed claim as a ratio of two timings taken in turn in one run."""
