-- Every topic that a row names is in the registry of topics.
SELECT named.table_name, named.topic_id, count(*) AS n_rows
FROM (
    SELECT 'item_topic' AS table_name, topic_id FROM item_topic WHERE ds = :ds
    UNION ALL SELECT 'user_interest', topic_id FROM user_interest WHERE ds = :ds
    UNION ALL SELECT 'user_profile', top_topic_id FROM user_profile WHERE ds = :ds
    UNION ALL SELECT 'user_interest_change', topic_id FROM user_interest_change WHERE ds = :ds
    UNION ALL SELECT 'user_interest_forecast', topic_id FROM user_interest_forecast WHERE ds = :ds
    UNION ALL SELECT 'user_interest_expansion', topic_id FROM user_interest_expansion WHERE ds = :ds
    UNION ALL SELECT 'user_interest_expansion', via_topic_id FROM user_interest_expansion WHERE ds = :ds
    UNION ALL SELECT 'interest_edge', src_topic_id FROM interest_edge WHERE ds = :ds
    UNION ALL SELECT 'interest_edge', dst_topic_id FROM interest_edge WHERE ds = :ds
    UNION ALL SELECT 'user_topn', topic_id FROM user_topn WHERE ds = :ds
) named
WHERE named.topic_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM topic t WHERE t.topic_id = named.topic_id)
GROUP BY named.table_name, named.topic_id;
