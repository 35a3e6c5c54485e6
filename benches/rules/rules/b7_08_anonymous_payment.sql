/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, client_ip, ip_kind
FROM events
WHERE is_anonymous AND method = 'POST' AND path LIKE '%/payments'
