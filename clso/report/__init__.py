"""How results are shown: tables, figures, the terminal and the HTML page of a run."""
