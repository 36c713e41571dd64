-- A user on a night, in one row.
-- :ds        the night
-- :user_key  the user
SELECT
    u.ds, u.user_key, u.lifecycle, u.cold_level, u.n_events_30d, u.n_topics, u.entropy, u.drift_7d, u.summary_en, u.summary_zh,
    u.model_version, u.run_id
FROM user_profile u
WHERE u.ds = CAST(:ds AS DATE) AND u.user_key = :user_key;
