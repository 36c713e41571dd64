-- A topic under each version that held it, the newest first.
-- :topic_id  the topic
-- :most      how many versions at most
SELECT v.model_version, v.n_docs, v.n_users, v.coherence_npmi, v.centroid_sim_prev, m.kind, m.status, m.train_to, m.valid_from_ds
FROM topic_version v
LEFT JOIN model_version m ON m.model_version = v.model_version
WHERE v.topic_id = CAST(:topic_id AS BIGINT)
ORDER BY m.train_to DESC NULLS LAST, v.model_version
LIMIT CAST(:most AS BIGINT);
