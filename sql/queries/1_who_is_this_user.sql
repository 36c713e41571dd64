-- Who is this user today, and why?
-- The user's interests of the last published night, the longest horizon first, each with the items that carry it.
-- :user_key  the user
SELECT
    i.ds, u.lifecycle, u.summary_en, u.summary_zh, i.horizon, i.rank, i.topic_id, i.label_en, i.label_zh, i.share, i.lift, i.confidence,
    i.n_events, i.first_seen_ds, i.last_seen_ds, CAST(i.evidence AS VARCHAR) AS evidence, i.model_version, i.run_id
FROM user_interest_now i
LEFT JOIN user_profile_now u ON u.user_key = i.user_key
WHERE i.user_key = :user_key
ORDER BY CASE i.horizon WHEN '90d' THEN 1 WHEN '7d' THEN 2 ELSE 3 END, i.rank;
