-- The newest published night of each table, its age, its rows and the run that made it.
SELECT s.table_name, s.last_ds, s.age_days, s.row_count, s.generation, s.published_at, s.run_id
FROM published_status s
ORDER BY s.last_ds DESC, s.table_name;
