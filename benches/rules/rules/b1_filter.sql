/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key,
       event_time,
       client_ip,
       method,
       status,
       response_bytes / 1024 AS response_kib
FROM events
WHERE auth_result = 'ok' AND response_bytes >= 39700
