-- As the check of this name one folder up, which reads each evidence seven times here.
SELECT user_key, topic_id, horizon, score, total
FROM (
    SELECT
        user_key, topic_id, horizon, score,
        COALESCE(list_sum(CAST(json_extract_string(evidence, [
            '$.declared', '$.items[0].weight', '$.items[1].weight', '$.items[2].weight', '$.items[3].weight', '$.items[4].weight', '$.rest'
        ]) AS DOUBLE[])), 0) AS total
    FROM user_interest
    WHERE ds = :ds
) carried
WHERE abs(score - total) > 0.00001;
