-- Who holds a topic (90 days) on a night, the strongest of so many first. Those many are the first by key, which is chance: keys are hashes.
-- :ds        the night
-- :topic_id  the topic
-- :sample    of how many holders
-- :most      how many of them
SELECT h.user_key, h.share, h.confidence, h.n_events
FROM (
    SELECT i.user_key, i.share, i.confidence, i.n_events
    FROM user_interest i
    WHERE i.ds = CAST(:ds AS DATE) AND i.topic_id = CAST(:topic_id AS BIGINT) AND i.horizon = '90d'
    ORDER BY i.user_key
    LIMIT CAST(:sample AS BIGINT)
) h
ORDER BY h.share DESC, h.user_key
LIMIT CAST(:most AS BIGINT);
