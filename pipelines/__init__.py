"""Prefect flows and the `clso` command; the only place that knows about both."""
