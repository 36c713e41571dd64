-- As the check of this name one folder up, which takes fifteen times as long here.
SELECT user_key, list_name, variant, rank, score, total
FROM (
    SELECT user_key, list_name, variant, rank, score, list_sum(CAST(json_extract_string(contributions, '$.*') AS DOUBLE[])) AS total
    FROM user_topn
    WHERE ds = :ds
) carried
WHERE abs(score - total) > 0.00001;
