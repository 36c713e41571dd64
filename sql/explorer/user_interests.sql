-- What a user holds on a night over one horizon, with the items behind it; sensitive topics are not shown.
-- :ds        the night
-- :user_key  the user
-- :horizon   1d, 7d or 90d
-- :most      how many topics at most
SELECT
    i.topic_id, t.label_en, t.label_zh, i.rank, i.score, i.share, i.lift, i.confidence, i.n_events, i.n_items, i.first_seen_ds, i.last_seen_ds,
    i.sentiment, CAST(i.evidence AS VARCHAR) AS evidence, i.model_version
FROM user_interest i
JOIN topic t ON t.topic_id = i.topic_id
WHERE i.ds = CAST(:ds AS DATE) AND i.user_key = :user_key AND i.horizon = :horizon AND t.sensitive IS NOT TRUE
ORDER BY i.rank
LIMIT CAST(:most AS BIGINT);
