-- Models that were registered, the newest first.
-- :most  how many at most
SELECT m.model_version, m.kind, m.status, m.train_from, m.train_to, m.valid_from_ds, m.promoted_at
FROM model_version m
ORDER BY m.valid_from_ds DESC NULLS LAST, m.kind, m.model_version
LIMIT CAST(:most AS BIGINT);
