-- What the sources add is exactly the score; the margin is what rounding so many numbers to 6 decimals adds. Some lists have no sources.
SELECT user_key, list_name, variant, rank, score, total
FROM (
    SELECT user_key, list_name, variant, rank, score, list_sum(CAST(json_extract_string(contributions, '$.*') AS DOUBLE[])) AS total
    FROM user_topn
    WHERE ds = :ds
) carried
WHERE abs(score - total) > 0.00001;
