-- What was declared, the five items and the rest carry exactly the score; the margin is what rounding seven numbers to 6 decimals adds.
SELECT user_key, topic_id, horizon, score, total
FROM (
    SELECT
        user_key, topic_id, horizon, score,
        COALESCE(CAST((evidence ->> 'declared') AS DOUBLE PRECISION), 0)
        + COALESCE(CAST((((evidence -> 'items') -> 0) ->> 'weight') AS DOUBLE PRECISION), 0)
        + COALESCE(CAST((((evidence -> 'items') -> 1) ->> 'weight') AS DOUBLE PRECISION), 0)
        + COALESCE(CAST((((evidence -> 'items') -> 2) ->> 'weight') AS DOUBLE PRECISION), 0)
        + COALESCE(CAST((((evidence -> 'items') -> 3) ->> 'weight') AS DOUBLE PRECISION), 0)
        + COALESCE(CAST((((evidence -> 'items') -> 4) ->> 'weight') AS DOUBLE PRECISION), 0)
        + COALESCE(CAST((evidence ->> 'rest') AS DOUBLE PRECISION), 0) AS total
    FROM user_interest
    WHERE ds = :ds
) carried
WHERE abs(score - total) > 0.00001;
