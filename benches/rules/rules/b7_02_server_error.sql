/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, path, status
FROM events
WHERE status >= 500
