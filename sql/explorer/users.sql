-- Users of a night whose key is in a range, and what they are about; the strongest topic is not named when it is sensitive.
-- :ds     the night
-- :first  the range of keys: from this one …
-- :last   … to before this one
-- :most   how many users at most
SELECT
    u.user_key, u.lifecycle, u.n_events_30d, u.n_topics, u.summary_en, u.summary_zh,
    CASE WHEN t.sensitive THEN NULL ELSE t.topic_id END AS top_topic_id
FROM user_profile u
LEFT JOIN topic t ON t.topic_id = u.top_topic_id
WHERE u.ds = CAST(:ds AS DATE) AND u.user_key >= :first AND u.user_key < :last
ORDER BY u.user_key
LIMIT CAST(:most AS BIGINT);
