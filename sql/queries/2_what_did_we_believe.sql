-- What did we believe on a past night, and is it free of the future?
-- The user's interests as published for the night, with the run and the model behind each; free_of_future says that the model was
-- trained, and the events were cut, no later than the end of the night.
-- :user_key   the user
-- :ds         the night
-- :time_zone  the time zone that cuts the nights, such as UTC
SELECT
    i.ds, i.horizon, i.rank, i.topic_id, t.label_en, t.label_zh, i.share, i.confidence, i.model_version, m.train_to,
    p.run_id, p.generation, p.published_at, p.event_cutoff_ts, p.known_cutoff_ts,
    COALESCE(
        m.train_to <= i.ds
        AND CAST(p.event_cutoff_ts AT TIME ZONE CAST(:time_zone AS VARCHAR) AS TIMESTAMP) <= i.ds + INTERVAL '1 day',
        FALSE
    ) AS free_of_future
FROM user_interest i
LEFT JOIN publication p ON p.ds = i.ds AND p.table_name = 'user_interest' AND p.is_live
LEFT JOIN model_version m ON m.model_version = i.model_version
LEFT JOIN topic t ON t.topic_id = i.topic_id
WHERE i.ds = CAST(:ds AS DATE) AND i.user_key = :user_key
ORDER BY CASE i.horizon WHEN '90d' THEN 1 WHEN '7d' THEN 2 ELSE 3 END, i.rank;
