-- No sensitive topic is proposed, led from, joined by an edge or made a segment; nights under an earlier model go by the words of their own.
SELECT named.table_name, named.topic_id, count(*) AS n_rows
FROM (
    SELECT 'user_interest_expansion' AS table_name, topic_id FROM user_interest_expansion WHERE ds = :ds
    UNION ALL SELECT 'user_interest_expansion', via_topic_id FROM user_interest_expansion WHERE ds = :ds
    UNION ALL SELECT 'interest_edge', src_topic_id FROM interest_edge WHERE ds = :ds
    UNION ALL SELECT 'interest_edge', dst_topic_id FROM interest_edge WHERE ds = :ds
    UNION ALL
    SELECT 'user_segment', s.topic_id
    FROM user_segment u JOIN topic s ON u.segment = 'topic:' || CAST(s.topic_id AS VARCHAR) WHERE u.ds = :ds
) named
JOIN topic t ON t.topic_id = named.topic_id
WHERE t.sensitive AND (SELECT max(model_version) FROM user_interest WHERE ds = :ds)
    IN (SELECT model_version FROM model_version WHERE kind = 'topics' AND status = 'champion')
GROUP BY named.table_name, named.topic_id;
