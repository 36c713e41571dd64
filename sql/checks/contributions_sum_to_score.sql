-- What the sources add is exactly the score; the margin is what rounding so many numbers to 6 decimals adds. Some lists have no sources.
SELECT user_key, list_name, variant, rank, score, total
FROM (
    SELECT
        l.user_key, l.list_name, l.variant, l.rank, l.score,
        (SELECT sum(CAST(CAST(part.value AS VARCHAR) AS DOUBLE PRECISION)) FROM json_each(l.contributions) part) AS total
    FROM user_topn l
    WHERE l.ds = :ds
) carried
WHERE abs(score - total) > 0.00001;
