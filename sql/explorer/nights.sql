-- Published nights, the newest first: how many users, interests and slots each holds, under which models, and since when.
-- :most  how many nights at most
SELECT
    p.ds,
    max(CASE WHEN p.table_name = 'user_profile' THEN p.row_count END) AS n_users,
    max(CASE WHEN p.table_name = 'user_interest' THEN p.row_count END) AS n_interests,
    max(CASE WHEN p.table_name = 'user_topn' THEN p.row_count END) AS n_slots,
    max(CASE WHEN p.table_name = 'user_interest' THEN CAST(p.model_versions AS VARCHAR) END) AS models,
    max(CASE WHEN p.table_name = 'user_profile' THEN p.generation END) AS generation,
    max(CASE WHEN p.table_name = 'user_profile' THEN p.published_at END) AS published_at
FROM publication p
WHERE p.is_live AND p.table_name IN ('user_profile', 'user_interest', 'user_topn')
GROUP BY p.ds
ORDER BY p.ds DESC
LIMIT CAST(:most AS BIGINT);
