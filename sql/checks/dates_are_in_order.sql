-- Nothing a night says lies after the night, and first comes before last.
SELECT 'user_interest' AS table_name, user_key, topic_id, first_seen_ds AS from_ds, last_seen_ds AS to_ds
FROM user_interest
WHERE ds = :ds AND (first_seen_ds > last_seen_ds OR last_seen_ds > ds)
UNION ALL
SELECT 'user_interest_change', user_key, topic_id, compared_ds, ds
FROM user_interest_change
WHERE ds = :ds AND compared_ds >= ds
UNION ALL
SELECT 'topn_outcome', user_key, rank, list_ds, ds
FROM topn_outcome
WHERE ds = :ds AND NOT (list_ds < ds AND ds <= list_ds + 7);
