-- A user's shares over the last published nights up to one; sensitive topics are not shown.
-- A list of nights makes each a look-up in PostgreSQL’s key; by the first one DuckDB passes over all that lies before.
-- :from_ds   the first night
-- :ds        the last night
-- :user_key  the user
-- :horizon   1d, 7d or 90d
-- :most      how many topics of a night at most
SELECT i.ds, i.topic_id, t.label_en, t.label_zh, i.share
FROM user_interest i
JOIN topic t ON t.topic_id = i.topic_id
WHERE i.user_key = :user_key AND i.horizon = :horizon AND i.rank <= CAST(:most AS BIGINT) AND t.sensitive IS NOT TRUE
  AND i.ds BETWEEN CAST(:from_ds AS DATE) AND CAST(:ds AS DATE) AND i.ds = ANY (CAST(ARRAY(
      SELECT p.ds FROM publication p
      WHERE p.table_name = 'user_interest' AND p.is_live AND p.ds >= CAST(:from_ds AS DATE) AND p.ds <= CAST(:ds AS DATE)
  ) AS DATE[]))
ORDER BY i.topic_id, i.ds;
