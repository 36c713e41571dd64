-- What sensitive topics are called: a text that names one is not shown.
SELECT t.label_en, t.label_zh FROM topic t WHERE t.sensitive ORDER BY t.topic_id;
