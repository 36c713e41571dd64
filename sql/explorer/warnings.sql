-- What the checks of a night found, where they did not pass.
-- :ds    the night
-- :most  how many at most
SELECT q.table_name, q.check_name, q.severity, q.observed, q.threshold
FROM quality_result q
WHERE q.ds = CAST(:ds AS DATE) AND NOT q.passed
ORDER BY q.severity, q.table_name, q.check_name
LIMIT CAST(:most AS BIGINT);
