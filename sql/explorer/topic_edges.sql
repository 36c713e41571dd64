-- What a topic hangs together with on a night: of each kind of relation the strongest; nothing sensitive.
-- :ds        the night
-- :topic_id  the topic
-- :most      how many edges of a relation at most
SELECT e.relation, e.directed, e.is_source, e.topic_id, e.label_en, e.label_zh, e.n_users, e.weight, e.lift
FROM (
    SELECT
        g.relation, g.directed, g.is_source, g.topic_id, t.label_en, t.label_zh, g.n_users, g.weight, g.lift,
        row_number() OVER (PARTITION BY g.relation, g.is_source ORDER BY g.weight DESC, g.topic_id) AS place
    FROM (
        SELECT relation, directed, TRUE AS is_source, dst_topic_id AS topic_id, n_users, weight, lift
        FROM interest_edge
        WHERE ds = CAST(:ds AS DATE) AND src_topic_id = CAST(:topic_id AS BIGINT)
        UNION ALL
        SELECT relation, directed, FALSE, src_topic_id, n_users, weight, lift
        FROM interest_edge
        WHERE ds = CAST(:ds AS DATE) AND dst_topic_id = CAST(:topic_id AS BIGINT)
    ) g
    JOIN topic t ON t.topic_id = g.topic_id
    WHERE t.sensitive IS NOT TRUE AND g.topic_id <> CAST(:topic_id AS BIGINT)
) e
WHERE e.place <= CAST(:most AS BIGINT)
ORDER BY e.relation, e.is_source DESC, e.place;
