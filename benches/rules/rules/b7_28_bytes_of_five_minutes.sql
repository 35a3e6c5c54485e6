/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, bytes
FROM (
  SELECT api_key, event_time,
         sum(response_bytes) OVER (PARTITION BY api_key ORDER BY event_time
                                   RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS bytes
  FROM events
)
WHERE bytes >= 2000000000
