-- The ends of a confidence interval are in order.
SELECT subject, list_name, variant, slice_dim, slice_value, metric, k, baseline, ci_low, ci_high, diff_ci_low, diff_ci_high
FROM eval_metric
WHERE ds = :ds AND (ci_low > ci_high OR diff_ci_low > diff_ci_high);
