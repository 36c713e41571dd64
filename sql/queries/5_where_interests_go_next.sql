-- Where do people's interests go next, compared with two weeks ago? Transitions between topics, the most changed first.
-- :ds  the night
WITH edge_now AS (
    SELECT src_topic_id, dst_topic_id, n_users, weight, lift
    FROM interest_edge
    WHERE ds = CAST(:ds AS DATE) AND relation = 'transition'
),
edge_then AS (
    SELECT src_topic_id, dst_topic_id, n_users, weight, lift
    FROM interest_edge
    WHERE ds = CAST(:ds AS DATE) - 14 AND relation = 'transition'
)
SELECT
    COALESCE(n.src_topic_id, b.src_topic_id) AS src_topic_id, src.label_en AS src_label_en,
    COALESCE(n.dst_topic_id, b.dst_topic_id) AS dst_topic_id, dst.label_en AS dst_label_en,
    COALESCE(n.weight, 0) AS weight_now, COALESCE(b.weight, 0) AS weight_then,
    COALESCE(n.weight, 0) - COALESCE(b.weight, 0) AS weight_change,
    COALESCE(n.n_users, 0) AS n_users_now, COALESCE(b.n_users, 0) AS n_users_then, n.lift AS lift_now, b.lift AS lift_then
FROM edge_now n
FULL JOIN edge_then b ON b.src_topic_id = n.src_topic_id AND b.dst_topic_id = n.dst_topic_id
LEFT JOIN topic src ON src.topic_id = COALESCE(n.src_topic_id, b.src_topic_id)
LEFT JOIN topic dst ON dst.topic_id = COALESCE(n.dst_topic_id, b.dst_topic_id)
ORDER BY abs(COALESCE(n.weight, 0) - COALESCE(b.weight, 0)) DESC, 1, 3;
