"""Trials that try to break what docs/reliability.md promises: a short form as tests, all of them by `python -m tests.faults`."""
