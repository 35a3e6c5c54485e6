/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, requests, response_bytes
FROM usage_hop_10s
WHERE requests >= 50000
