"""What a run found: floors, scores, intervals, figures, tables and the report."""
