"""Airflow DAGs derived from the job registry: nothing here computes, everything runs as `python -m jobs …`."""
