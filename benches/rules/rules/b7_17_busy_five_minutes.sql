/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, count(*) AS requests
FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes')
GROUP BY api_key, window_end
HAVING count(*) >= 50000
