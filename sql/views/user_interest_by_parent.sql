-- Interests of the last published night rolled up to the topics above: of a topic without one, the topic itself. Sensitive topics are not shown.
CREATE OR REPLACE VIEW user_interest_by_parent AS
SELECT
    i.ds, i.user_key, COALESCE(t.parent_topic_id, i.topic_id) AS topic_id, i.horizon, sum(i.score) AS score, sum(i.share) AS share,
    count(*) AS n_topics, min(i.first_seen_ds) AS first_seen_ds, max(i.last_seen_ds) AS last_seen_ds, max(p.label_en) AS label_en,
    max(p.label_zh) AS label_zh, max(i.model_version) AS model_version
FROM user_interest i
LEFT JOIN topic t ON t.topic_id = i.topic_id
LEFT JOIN topic p ON p.topic_id = COALESCE(t.parent_topic_id, i.topic_id)
WHERE i.ds = (SELECT max(q.ds) FROM publication q WHERE q.table_name = 'user_interest' AND q.is_live)
  AND t.sensitive IS NOT TRUE AND p.sensitive IS NOT TRUE
GROUP BY i.ds, i.user_key, COALESCE(t.parent_topic_id, i.topic_id), i.horizon;
