/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, count(*) AS refusals, count(DISTINCT client_ip) AS addresses
FROM tumble(events, event_time, INTERVAL '5 minutes')
WHERE auth_result <> 'ok'
GROUP BY api_key, window_end
HAVING count(*) >= 200
