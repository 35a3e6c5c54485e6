/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, requests
FROM usage_1m
WHERE requests >= 12000
