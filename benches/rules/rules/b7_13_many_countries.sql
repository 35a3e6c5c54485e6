/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, countries, networks
FROM usage_10m
WHERE countries >= 12 OR networks >= 20
