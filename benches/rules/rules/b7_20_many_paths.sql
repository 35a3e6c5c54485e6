/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, count(DISTINCT path) AS paths
FROM tumble(events, event_time, INTERVAL '10 minutes')
WHERE method = 'GET'
GROUP BY api_key, window_end
HAVING count(DISTINCT path) >= 100000
