/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_start, window_end, requests
FROM visits
WHERE requests >= 20 AND window_end - window_start >= INTERVAL '40 minutes'
