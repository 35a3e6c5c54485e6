/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, latency_us, usual_us
FROM (
  SELECT api_key, event_time, latency_us,
         avg(latency_us) OVER (PARTITION BY api_key ORDER BY event_time
                               ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING) AS usual_us
  FROM events
)
WHERE latency_us > 4 * usual_us
