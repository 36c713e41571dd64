-- Nothing that a user met on the night itself is listed for them, but what the site lets come back, whose reason says so or explores.
SELECT l.user_key, l.list_name, l.variant, l.rank, l.item_id
FROM user_topn l JOIN user_item_day d ON d.ds = l.ds AND d.user_key = l.user_key AND d.item_id = l.item_id
WHERE l.ds = :ds AND l.reason_code NOT IN ('repeat', 'explore');
