-- How many users hold a topic (90 days) on each of the last published nights up to one; no row where they are too few to be told of.
-- :from_ds   the first night
-- :ds        the last night
-- :topic_id  the topic
SELECT a.ds, a.n_users
FROM topic_audience a
WHERE a.topic_id = CAST(:topic_id AS BIGINT) AND a.horizon = '90d'
  AND a.ds BETWEEN CAST(:from_ds AS DATE) AND CAST(:ds AS DATE) AND a.ds = ANY (CAST(ARRAY(
      SELECT p.ds FROM publication p
      WHERE p.table_name = 'topic_audience' AND p.is_live AND p.ds >= CAST(:from_ds AS DATE) AND p.ds <= CAST(:ds AS DATE)
  ) AS DATE[]))
ORDER BY a.ds;
