"""What each study of a search tells: summary, table, figures and sentences."""
