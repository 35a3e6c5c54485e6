/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, requests
FROM usage_10m
WHERE requests >= 100000
