-- All topics but the sensitive ones, with the newest figures of those that a model version holds.
-- :model_version  the version whose figures are wanted
-- :most           how many topics at most
SELECT
    t.topic_id, t.level, t.parent_topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) AS keywords, t.status, t.born_ds, t.retired_ds,
    v.model_version, v.n_docs, v.n_users, v.coherence_npmi, v.medoid_item_id
FROM topic t
LEFT JOIN topic_version v ON v.topic_id = t.topic_id AND v.model_version = :model_version
WHERE t.sensitive IS NOT TRUE
ORDER BY t.topic_id
LIMIT CAST(:most AS BIGINT);
