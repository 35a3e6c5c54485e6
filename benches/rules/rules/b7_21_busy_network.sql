/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, client_net, window_end, count(*) AS requests
FROM tumble(events, event_time, INTERVAL '10 minutes')
GROUP BY api_key, client_net, window_end
HAVING count(*) >= 80000
