-- Which arm of an experiment is better? Each metric of each arm, and its difference from the first arm, with 95 % confidence intervals.
-- When sample_ratio_p is below 0.001, users were not dealt to the arms as declared: then believe no figure. Of hide_rate less is better.
-- :ds  the night that observed it
SELECT
    m.experiment, m.metric, m.variant, m.n, m.value, m.ci_low, m.ci_high,
    d.value AS diff, d.ci_low AS diff_ci_low, d.ci_high AS diff_ci_high, m.sample_ratio_p,
    CASE
        WHEN m.sample_ratio_p < 0.001 THEN 'not to be believed'
        WHEN d.value IS NULL THEN ''
        WHEN d.ci_low > 0 THEN 'higher'
        WHEN d.ci_high < 0 THEN 'lower'
        ELSE 'not settled'
    END AS verdict
FROM experiment_metric m
LEFT JOIN experiment_metric d
    ON d.ds = m.ds AND d.experiment = m.experiment AND d.variant = m.variant AND d.metric = m.metric || '_diff'
WHERE m.ds = CAST(:ds AS DATE) AND right(m.metric, 5) <> '_diff'
ORDER BY m.experiment, m.metric, m.variant;
