-- The last published night of each table: its age in days, rows, generation and models.
CREATE OR REPLACE VIEW published_status AS
SELECT
    p.table_name, p.ds AS last_ds, current_date - p.ds AS age_days, p.row_count, p.generation, p.published_at,
    p.run_id, p.content_hash, p.model_versions, p.trigger
FROM publication p
WHERE p.is_live
  AND p.ds = (SELECT max(q.ds) FROM publication q WHERE q.table_name = p.table_name AND q.is_live);
