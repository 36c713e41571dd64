-- Topics that a user may take up next, by what proposes them; nothing that is sensitive, or that leads there from something sensitive.
-- :ds        the night
-- :user_key  the user
-- :most      how many topics of a method at most
SELECT
    e.topic_id, t.label_en, t.label_zh, e.method, e.score, e.rank, e.reason, e.via_topic_id, v.label_en AS via_en, v.label_zh AS via_zh
FROM user_interest_expansion e
JOIN topic t ON t.topic_id = e.topic_id
LEFT JOIN topic v ON v.topic_id = e.via_topic_id
WHERE e.ds = CAST(:ds AS DATE) AND e.user_key = :user_key AND e.rank <= CAST(:most AS BIGINT)
  AND t.sensitive IS NOT TRUE AND v.sensitive IS NOT TRUE
ORDER BY e.score DESC, e.method, e.topic_id;
