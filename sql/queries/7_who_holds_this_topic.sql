-- Who holds a topic or its children with a share of at least so much? The whole audience, largest share first.
-- :topic_id   the topic
-- :ds         the night
-- :horizon    1d, 7d or 90d
-- :min_share  least share of the user's interest, 0 to 1
WITH RECURSIVE wanted (topic_id) AS (
    SELECT t.topic_id FROM topic t WHERE t.topic_id = CAST(:topic_id AS BIGINT)
    UNION
    SELECT t.topic_id FROM topic t JOIN wanted w ON t.parent_topic_id = w.topic_id
)
SELECT i.user_key, sum(i.share) AS share, count(*) AS n_topics
FROM user_interest i
WHERE i.ds = CAST(:ds AS DATE) AND i.horizon = :horizon AND i.topic_id = ANY (CAST(ARRAY(SELECT w.topic_id FROM wanted w) AS BIGINT[]))
GROUP BY i.user_key
HAVING sum(i.share) >= CAST(:min_share AS DOUBLE PRECISION)
ORDER BY share DESC, i.user_key;
