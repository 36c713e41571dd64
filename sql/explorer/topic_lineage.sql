-- What became of a topic from version to version, and what it came from; steps that touch a sensitive topic are left out.
-- :topic_id  the topic
-- :most      how many steps at most
SELECT
    l.model_version, l.prev_model_version, l.relation, l.similarity, l.topic_id, n.label_en, n.label_zh,
    NULLIF(l.prev_topic_id, 0) AS prev_topic_id, b.label_en AS prev_en, b.label_zh AS prev_zh, m.train_to, m.valid_from_ds
FROM topic_lineage l
LEFT JOIN topic n ON n.topic_id = l.topic_id
LEFT JOIN topic b ON b.topic_id = l.prev_topic_id
LEFT JOIN model_version m ON m.model_version = l.model_version
WHERE (l.topic_id = CAST(:topic_id AS BIGINT) OR l.prev_topic_id = CAST(:topic_id AS BIGINT))
  AND n.sensitive IS NOT TRUE AND b.sensitive IS NOT TRUE
ORDER BY m.train_to DESC NULLS LAST, l.model_version, l.relation, l.topic_id, l.prev_topic_id
LIMIT CAST(:most AS BIGINT);
