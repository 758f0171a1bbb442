"""What holds for all tests."""

import os

# Read when torch is loaded, by the processes that tests start too; see pipelines/cli.py.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
