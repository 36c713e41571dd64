-- How good models were found, by the night that observed it: over all users, beside nothing or beside popularity.
-- :from_ds the first night
-- :ds      the last night
-- :most    how many rows at most
SELECT e.model_version, e.subject, e.list_name, e.variant, e.metric, e.k, e.baseline, e.ds, e.value, e.ci_low, e.ci_high, e.n
FROM eval_metric e
WHERE e.slice_dim = 'all' AND e.baseline IN ('', 'popularity') AND e.list_name IN ('', 'for_you')
  AND e.ds BETWEEN CAST(:from_ds AS DATE) AND CAST(:ds AS DATE) AND e.ds = ANY (CAST(ARRAY(
      SELECT p.ds FROM publication p
      WHERE p.table_name = 'eval_metric' AND p.is_live AND p.ds >= CAST(:from_ds AS DATE) AND p.ds <= CAST(:ds AS DATE)
  ) AS DATE[]))
ORDER BY e.ds DESC, e.model_version, e.subject, e.list_name, e.variant, e.metric, e.k, e.baseline
LIMIT CAST(:most AS BIGINT);
