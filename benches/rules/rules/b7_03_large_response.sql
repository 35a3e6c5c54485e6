/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, path, response_bytes
FROM events
WHERE response_bytes >= 40090
