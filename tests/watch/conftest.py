from stored_run import make_run, run  # noqa: F401 - fixtures
