/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, client_ip, auth_result
FROM events
WHERE auth_result <> 'ok' AND auth_result <> 'bad_signature'
