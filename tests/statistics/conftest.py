from stored_run import make_run, run, scores_of, tokens_of  # noqa: F401 - fixtures
