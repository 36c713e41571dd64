-- Did the lists of a night get consumed in the next 7 days, by list, variant, source and exploration?
-- A slot counts once however often its item was touched; disliking, hiding or returning an item is no consumption.
-- nights_observed says how many of the 7 nights are published so far.
-- :ds  the night of the lists
WITH slot AS (
    SELECT
        l.list_name, l.variant, l.source, l.exploration,
        CASE WHEN EXISTS (
            SELECT 1
            FROM topn_outcome o
            WHERE o.list_ds = l.ds AND o.user_key = l.user_key AND o.list_name = l.list_name AND o.variant = l.variant AND o.rank = l.rank
              AND o.ds > l.ds AND o.ds <= l.ds + 7 AND o.event_type NOT IN ('dislike', 'hide', 'return')
        ) THEN 1 ELSE 0 END AS consumed
    FROM user_topn l
    WHERE l.ds = CAST(:ds AS DATE)
)
SELECT
    s.list_name, s.variant, s.source, s.exploration, count(*) AS n_slots, CAST(sum(s.consumed) AS BIGINT) AS n_consumed,
    CAST(sum(s.consumed) AS DOUBLE PRECISION) / count(*) AS share_consumed,
    (SELECT count(*) FROM publication p
     WHERE p.table_name = 'topn_outcome' AND p.is_live AND p.ds > CAST(:ds AS DATE) AND p.ds <= CAST(:ds AS DATE) + 7) AS nights_observed
FROM slot s
GROUP BY s.list_name, s.variant, s.source, s.exploration
ORDER BY s.list_name, s.variant, s.source, s.exploration;
