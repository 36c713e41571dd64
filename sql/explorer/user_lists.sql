-- The lists of a user on a night, or of everybody unknown under the key '*'; sensitive topics are not named.
-- :ds        the night
-- :user_key  the user
-- :most      how many slots at most, over all lists
SELECT
    l.list_name, l.variant, l.rank, l.item_id, l.score, l.source, l.exploration, l.reason_code, l.reason_text_en, l.reason_text_zh,
    l.evidence_item_id, CASE WHEN t.sensitive THEN NULL ELSE t.topic_id END AS topic_id, l.model_version
FROM user_topn l
LEFT JOIN topic t ON t.topic_id = l.topic_id
WHERE l.ds = CAST(:ds AS DATE) AND l.user_key = :user_key
ORDER BY l.list_name, l.variant, l.rank
LIMIT CAST(:most AS BIGINT);
