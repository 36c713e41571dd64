-- Users of the last published night, with the label of their strongest topic unless it is sensitive.
CREATE OR REPLACE VIEW user_profile_now AS
SELECT
    u.ds, u.user_key, u.lifecycle, u.cold_level, u.n_events_30d, u.n_topics, u.entropy, u.drift_7d,
    CASE WHEN t.sensitive THEN NULL ELSE u.top_topic_id END AS top_topic_id,
    u.summary_en, u.summary_zh, u.vector, u.embedding_space, u.model_version, u.run_id,
    CASE WHEN t.sensitive THEN NULL ELSE t.label_en END AS top_label_en, CASE WHEN t.sensitive THEN NULL ELSE t.label_zh END AS top_label_zh
FROM user_profile u
LEFT JOIN topic t ON t.topic_id = u.top_topic_id
WHERE u.ds = (SELECT max(p.ds) FROM publication p WHERE p.table_name = 'user_profile' AND p.is_live);
