-- Interests of the last published night, with the topics' labels; sensitive topics are not shown.
CREATE OR REPLACE VIEW user_interest_now AS
SELECT
    i.ds, i.user_key, i.topic_id, i.horizon, i.score, i.share, i.lift, i.rank, i.confidence, i.n_events, i.n_items,
    i.first_seen_ds, i.last_seen_ds, i.sentiment, i.evidence, i.model_version, i.run_id,
    t.label_en, t.label_zh, t.keywords, t.parent_topic_id
FROM user_interest i
LEFT JOIN topic t ON t.topic_id = i.topic_id
WHERE i.ds = (SELECT max(p.ds) FROM publication p WHERE p.table_name = 'user_interest' AND p.is_live)
  AND t.sensitive IS NOT TRUE;
