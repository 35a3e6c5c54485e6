/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_start, window_end, requests, response_bytes
FROM visits
WHERE requests >= 10000
