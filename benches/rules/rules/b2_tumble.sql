/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, requests, response_bytes, addresses
FROM usage_1m
WHERE requests >= 1000 AND addresses >= 20
