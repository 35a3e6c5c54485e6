/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, count(*) AS minutes, min(requests) AS least, max(requests) AS most
FROM tumble(usage_1m, window_time, INTERVAL '10 minutes')
GROUP BY api_key, window_end
HAVING count(*) = 10 AND min(requests) >= 100 AND max(requests) - min(requests) <= 2
