-- A slot that explores says so in its reason, and no other does.
SELECT user_key, list_name, variant, rank, reason_code
FROM user_topn
WHERE ds = :ds AND exploration <> (reason_code = 'explore');
