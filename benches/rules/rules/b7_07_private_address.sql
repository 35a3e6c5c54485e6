/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, client_ip
FROM events
WHERE ip_in(client_ip, '10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7')
