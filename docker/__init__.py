"""Environments: the throw-away PostgreSQL, Airflow for one machine, pins. A package, so that no installed one of this name hides it."""
