-- What changed in a user's interests on a night, the strongest change first; sensitive topics are not shown.
-- :ds        the night
-- :user_key  the user
-- :most      how many changes at most
SELECT c.topic_id, t.label_en, t.label_zh, c.change, c.share_prev, c.share_now, c.z, c.compared_ds
FROM user_interest_change c
JOIN topic t ON t.topic_id = c.topic_id
WHERE c.ds = CAST(:ds AS DATE) AND c.user_key = :user_key AND t.sensitive IS NOT TRUE
ORDER BY abs(c.share_now - c.share_prev) DESC, c.topic_id
LIMIT CAST(:most AS BIGINT);
