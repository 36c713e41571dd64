-- Which users' interest in a topic or its children is rising? The whole audience, strongest rise first.
-- Judged by user_interest_change; on a night for which that table is empty, by a 7-day share half as high again as the 90-day share.
-- :topic_id  the topic
-- :ds        the night
WITH RECURSIVE wanted (topic_id) AS (
    SELECT t.topic_id FROM topic t WHERE t.topic_id = CAST(:topic_id AS BIGINT)
    UNION
    SELECT t.topic_id FROM topic t JOIN wanted w ON t.parent_topic_id = w.topic_id
),
changed AS (
    SELECT c.user_key, sum(c.share_prev) AS share_before, sum(c.share_now) AS share_now
    FROM user_interest_change c
    WHERE c.ds = CAST(:ds AS DATE) AND c.change IN ('new', 'rising', 'returned')
      AND c.topic_id = ANY (CAST(ARRAY(SELECT w.topic_id FROM wanted w) AS BIGINT[]))
    GROUP BY c.user_key
),
compared AS (
    SELECT
        i.user_key,
        sum(CASE WHEN i.horizon = '90d' THEN i.share ELSE 0 END) AS share_before,
        sum(CASE WHEN i.horizon = '7d' THEN i.share ELSE 0 END) AS share_now
    FROM user_interest i
    WHERE i.ds = CAST(:ds AS DATE) AND i.horizon IN ('7d', '90d')
      AND i.topic_id = ANY (CAST(ARRAY(SELECT w.topic_id FROM wanted w) AS BIGINT[]))
      AND NOT EXISTS (SELECT 1 FROM user_interest_change c WHERE c.ds = CAST(:ds AS DATE))
    GROUP BY i.user_key
)
SELECT a.user_key, a.share_before, a.share_now, a.share_now - a.share_before AS gain, a.judged_by
FROM (
    SELECT user_key, share_before, share_now, 'change' AS judged_by FROM changed
    UNION ALL
    SELECT user_key, share_before, share_now, '7d over 90d' FROM compared WHERE share_now > 1.5 * share_before
) a
ORDER BY gain DESC, a.user_key;
