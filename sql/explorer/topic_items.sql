-- The items that are most of a topic on a night.
-- :ds        the night
-- :topic_id  the topic
-- :most      how many items at most
SELECT i.item_id, i.weight
FROM item_topic i
WHERE i.ds = CAST(:ds AS DATE) AND i.topic_id = CAST(:topic_id AS BIGINT)
ORDER BY i.weight DESC, i.item_id
LIMIT CAST(:most AS BIGINT);
