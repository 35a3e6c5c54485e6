/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, path, latency_us / 1000 AS latency_ms
FROM events
WHERE latency_us >= 92990
