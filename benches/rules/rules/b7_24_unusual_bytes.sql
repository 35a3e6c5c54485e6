/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, response_bytes, normal['expected'] AS expected
FROM (
  SELECT api_key, window_end, response_bytes,
         baseline(response_bytes, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS normal
  FROM usage_10m
)
WHERE normal['surprise'] > 6
