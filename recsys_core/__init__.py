"""The science and the I/O kernel: no Airflow, no environment, no clock."""
