/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, client_ip, path
FROM events
WHERE path LIKE '/admin/%'
