/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, event_time, before, country
FROM (
  SELECT api_key, event_time, country, is_anonymous,
         lag(country) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS before
  FROM events
)
WHERE country <> before AND is_anonymous
