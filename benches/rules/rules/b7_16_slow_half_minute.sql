/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, avg(latency_us) AS latency_us, max(latency_us) AS slowest_us
FROM tumble(events, event_time, INTERVAL '30 seconds')
GROUP BY api_key, window_end
HAVING count(*) >= 30 AND avg(latency_us) >= 70000
