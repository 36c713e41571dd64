-- Interests as of now: who did something on a day after the last published night has that day mixed in, everybody else the night's seven days;
-- sensitive topics are not shown.
CREATE OR REPLACE VIEW user_interest_today AS
WITH night AS (
    SELECT max(p.ds) AS ds FROM publication p WHERE p.table_name = 'user_interest' AND p.is_live
),
today AS (
    SELECT d.user_key, max(d.ds) AS ds
    FROM user_interest_intraday d
    WHERE d.ds > (SELECT n.ds FROM night n)
    GROUP BY d.user_key
),
shares AS (
    SELECT d.ds, d.user_key, d.topic_id, d.share, d.n_events_today, d.as_of_ts
    FROM user_interest_intraday d
    JOIN today y ON y.user_key = d.user_key AND y.ds = d.ds
    UNION ALL
    SELECT i.ds, i.user_key, i.topic_id, i.share, 0, CAST(NULL AS TIMESTAMP WITH TIME ZONE)
    FROM user_interest i
    WHERE i.horizon = '7d' AND i.ds = (SELECT n.ds FROM night n)
      AND NOT EXISTS (SELECT 1 FROM today y WHERE y.user_key = i.user_key)
)
SELECT
    s.ds, s.user_key, s.topic_id, s.share,
    row_number() OVER (PARTITION BY s.user_key ORDER BY s.share DESC, s.topic_id) AS rank,
    s.n_events_today, s.as_of_ts, t.label_en, t.label_zh, t.parent_topic_id
FROM shares s
LEFT JOIN topic t ON t.topic_id = s.topic_id
WHERE t.sensitive IS NOT TRUE;
