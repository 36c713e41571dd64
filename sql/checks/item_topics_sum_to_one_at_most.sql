-- An item's kept topics are parts of one whole, and three at most.
SELECT item_id, sum(weight) AS total, count(*) AS n_topics
FROM item_topic
WHERE ds = :ds
GROUP BY item_id
HAVING sum(weight) > 1.00001 OR count(*) > 3;
