-- Lists of the last published night; unknown users have the lists of user_key '*'. Sensitive topics are not named.
CREATE OR REPLACE VIEW user_topn_now AS
SELECT
    l.ds, l.user_key, l.list_name, l.variant, l.rank, l.item_id, l.score, l.source,
    CASE WHEN t.sensitive THEN NULL ELSE l.topic_id END AS topic_id, l.exploration,
    l.reason_code, l.reason_text_en, l.reason_text_zh, l.evidence_item_id, l.model_version, l.run_id
FROM user_topn l
LEFT JOIN topic t ON t.topic_id = l.topic_id
WHERE l.ds = (SELECT max(p.ds) FROM publication p WHERE p.table_name = 'user_topn' AND p.is_live);
