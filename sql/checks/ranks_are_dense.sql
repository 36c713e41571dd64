-- Ranks count 1, 2, 3 … without gaps or ties: interests per user and horizon, lists per user, list and variant, topics per item. A rank is
-- part of a list's key, so there none comes twice.
SELECT 'user_interest' AS table_name, user_key AS subject, horizon AS part
FROM user_interest
WHERE ds = :ds
GROUP BY user_key, horizon
HAVING min(rank) <> 1 OR max(rank) <> count(*) OR count(DISTINCT rank) <> count(*)
UNION ALL
SELECT 'user_topn', user_key, list_name || '/' || variant
FROM user_topn
WHERE ds = :ds
GROUP BY user_key, list_name, variant
HAVING min(rank) <> 1 OR max(rank) <> count(*)
UNION ALL
SELECT 'item_topic', item_id, ''
FROM item_topic
WHERE ds = :ds
GROUP BY item_id
HAVING min(rank) <> 1 OR max(rank) <> count(*) OR count(DISTINCT rank) <> count(*);
