-- A user's shares within a horizon are parts of one whole; the margin is what rounding to 6 decimals adds over 200 topics.
SELECT user_key, horizon, sum(share) AS total
FROM user_interest
WHERE ds = :ds
GROUP BY user_key, horizon
HAVING sum(share) > 1.0001;
