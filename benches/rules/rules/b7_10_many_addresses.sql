/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, requests, addresses
FROM usage_1m
WHERE addresses >= 600
