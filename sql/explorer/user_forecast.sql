-- What a user is likely to turn to within some nights, beside what the last seven days alone would say; sensitive topics are not shown.
-- :ds        the night
-- :user_key  the user
-- :most      how many topics of a horizon at most
SELECT f.topic_id, t.label_en, t.label_zh, f.horizon_days, f.probability, f.baseline_probability, f.rank
FROM user_interest_forecast f
JOIN topic t ON t.topic_id = f.topic_id
WHERE f.ds = CAST(:ds AS DATE) AND f.user_key = :user_key AND f.rank <= CAST(:most AS BIGINT) AND t.sensitive IS NOT TRUE
ORDER BY f.horizon_days, f.rank, f.topic_id;
