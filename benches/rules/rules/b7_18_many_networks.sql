/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, count(DISTINCT client_net) AS networks
FROM hop(events, event_time, INTERVAL '5 minutes', INTERVAL '30 minutes')
GROUP BY api_key, window_end
HAVING count(DISTINCT client_net) >= 1000
