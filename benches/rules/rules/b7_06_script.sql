/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, client_ip, user_agent
FROM events
WHERE regexp_like(user_agent, '^(curl|python-requests|Go-http-client)')
