/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, response_bytes / requests AS bytes_a_call
FROM usage_1m
WHERE requests >= 20 AND response_bytes / requests >= 32000
