/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, before, client_ip
FROM (
  SELECT api_key, event_time, client_ip, auth_result,
         lag(event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS before
  FROM events
)
WHERE event_time - before >= INTERVAL '1 hour' AND auth_result <> 'ok'
