-- Did the lists of a night get consumed in the next night and in the next 7 days, by list, variant, source and exploration?
-- A slot counts once however often its item was touched; disliking, hiding or returning an item is no consumption. Lists for users nobody
-- knows have no outcome. nights_observed says how many of the 7 nights are published so far.
-- :ds  the night of the lists
WITH consumed AS (
    SELECT o.user_key, o.list_name, o.variant, o.rank, o.item_id, min(o.ds) AS first_ds
    FROM topn_outcome o
    WHERE o.list_ds = CAST(:ds AS DATE) AND o.ds > CAST(:ds AS DATE) AND o.ds <= CAST(:ds AS DATE) + 7
      AND o.event_type NOT IN ('dislike', 'hide', 'return')
    GROUP BY o.user_key, o.list_name, o.variant, o.rank, o.item_id
)
SELECT
    l.list_name, l.variant, l.source, l.exploration, count(*) AS n_slots,
    count(CASE WHEN c.first_ds = CAST(:ds AS DATE) + 1 THEN 1 END) AS n_consumed_next_night, count(c.first_ds) AS n_consumed,
    CAST(count(c.first_ds) AS DOUBLE PRECISION) / count(*) AS share_consumed,
    (SELECT count(*) FROM publication p
     WHERE p.table_name = 'topn_outcome' AND p.is_live AND p.ds > CAST(:ds AS DATE) AND p.ds <= CAST(:ds AS DATE) + 7) AS nights_observed
FROM user_topn l
LEFT JOIN consumed c
    ON c.user_key = l.user_key AND c.list_name = l.list_name AND c.variant = l.variant AND c.rank = l.rank AND c.item_id = l.item_id
WHERE l.ds = CAST(:ds AS DATE) AND l.user_key <> '*'
GROUP BY l.list_name, l.variant, l.source, l.exploration
ORDER BY l.list_name, l.variant, l.source, l.exploration;
