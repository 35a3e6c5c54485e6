/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, calls
FROM (
  SELECT api_key, event_time,
         count(*) OVER (PARTITION BY api_key ORDER BY event_time
                        RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW) AS calls
  FROM events
)
WHERE calls >= 12000
