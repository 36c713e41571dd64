-- What was declared, the five items and the rest carry exactly the score; the margin is what rounding seven numbers to 6 decimals adds.
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
