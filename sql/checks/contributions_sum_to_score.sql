-- What the sources add is exactly the score; the margin is what rounding so many numbers to 6 decimals adds. Some lists have no sources.
SELECT l.user_key, l.list_name, l.variant, l.rank, l.score, sum(CAST(CAST(part.value AS VARCHAR) AS DOUBLE PRECISION)) AS total
FROM user_topn l, json_each(l.contributions) part
WHERE l.ds = :ds
GROUP BY l.user_key, l.list_name, l.variant, l.rank, l.score
HAVING abs(l.score - sum(CAST(CAST(part.value AS VARCHAR) AS DOUBLE PRECISION))) > 0.00001;
