"""What is seen of the pipeline from outside: logs, what each run cost, metrics, lineage, status, probe and alerts."""
