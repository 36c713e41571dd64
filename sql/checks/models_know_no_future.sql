-- One topic model made the night's topics, it is registered, and it was trained on nights up to ds.
SELECT used.table_name, used.model_version, m.train_to
FROM (
    SELECT DISTINCT 'item_topic' AS table_name, model_version FROM item_topic WHERE ds = :ds
    UNION SELECT DISTINCT 'user_interest', model_version FROM user_interest WHERE ds = :ds
) used
LEFT JOIN model_version m ON m.model_version = used.model_version
WHERE m.model_version IS NULL OR m.train_to > :ds
   OR (SELECT count(DISTINCT model_version) FROM item_topic WHERE ds = :ds) > 1;
