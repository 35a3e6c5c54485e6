/*
finds = "What each key does in a minute, beside what is normal for it."
*/
SELECT api_key,
       window_end,
       requests,
       addresses,
       baseline(requests, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS normal
FROM usage_1m
