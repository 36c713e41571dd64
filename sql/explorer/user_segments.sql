-- The segments that a user is in on a night.
-- :ds        the night
-- :user_key  the user
-- :most      how many segments at most
SELECT s.segment, s.score, s.reason
FROM user_segment s
WHERE s.ds = CAST(:ds AS DATE) AND s.user_key = :user_key
ORDER BY s.segment
LIMIT CAST(:most AS BIGINT);
