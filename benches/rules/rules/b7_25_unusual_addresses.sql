/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, addresses, normal['expected'] AS expected
FROM (
  SELECT api_key, window_end, addresses,
         baseline(addresses, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS normal
  FROM usage_1m
)
WHERE normal['surprise'] > 6 AND addresses >= 20
