/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, refusals, requests
FROM usage_10m
WHERE requests >= 50 AND refusals * 10 >= requests
