-- Is the model better than popularity in every slice? With 95 % confidence intervals, the worst slice first.
-- :ds      the night that observed it
-- :metric  such as recall, ndcg, hit_rate
-- :k       the cut-off
SELECT
    model_version, list_name, variant, slice_dim, slice_value, metric, k, n, value, ci_low, ci_high, baseline_value,
    diff, diff_ci_low, diff_ci_high,
    CASE WHEN diff_ci_low > 0 THEN 'better' WHEN diff_ci_high < 0 THEN 'worse' ELSE 'not settled' END AS verdict
FROM eval_metric
WHERE ds = CAST(:ds AS DATE) AND subject = 'recommender' AND baseline = 'popularity' AND metric = :metric AND k = CAST(:k AS BIGINT)
ORDER BY CASE WHEN diff IS NULL THEN 1 ELSE 0 END, diff, slice_dim, slice_value, model_version, list_name, variant;
