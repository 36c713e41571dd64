-- Shares, confidences, weights and probabilities lie between 0 and 1; NaN does not.
SELECT 'user_interest' AS table_name, user_key AS subject, topic_id, share AS value
FROM user_interest
WHERE ds = :ds AND NOT (share BETWEEN 0 AND 1 AND confidence BETWEEN 0 AND 1 AND score BETWEEN 0 AND 1e300)
UNION ALL
SELECT 'user_interest_change', user_key, topic_id, share_now
FROM user_interest_change
WHERE ds = :ds AND NOT (share_now BETWEEN 0 AND 1 AND share_prev BETWEEN 0 AND 1)
UNION ALL
SELECT 'user_interest_forecast', user_key, topic_id, probability
FROM user_interest_forecast
WHERE ds = :ds AND NOT (probability BETWEEN 0 AND 1 AND baseline_probability BETWEEN 0 AND 1)
UNION ALL
SELECT 'user_interest_intraday', user_key, topic_id, share
FROM user_interest_intraday
WHERE ds = :ds AND NOT share BETWEEN 0 AND 1
UNION ALL
SELECT 'item_topic', item_id, topic_id, weight
FROM item_topic
WHERE ds = :ds AND NOT weight BETWEEN 0 AND 1;
