-- What became of the topics from the version before to this one; steps that touch a sensitive topic are left out.
-- :model_version  the version
-- :most           how many steps at most
SELECT
    l.prev_model_version, l.relation, l.similarity, l.user_overlap, l.topic_id, n.label_en, n.label_zh,
    NULLIF(l.prev_topic_id, 0) AS prev_topic_id, b.label_en AS prev_en, b.label_zh AS prev_zh
FROM topic_lineage l
LEFT JOIN topic n ON n.topic_id = l.topic_id
LEFT JOIN topic b ON b.topic_id = l.prev_topic_id
WHERE l.model_version = :model_version AND n.sensitive IS NOT TRUE AND b.sensitive IS NOT TRUE
ORDER BY l.relation, l.topic_id, l.prev_topic_id
LIMIT CAST(:most AS BIGINT);
