/*
severity = "low"
entity   = "api_key"
*/
SELECT api_key, window_end, requests, normal['expected'] AS expected, normal['surprise'] AS surprise
FROM usage_1m_normal
WHERE normal['surprise'] > 6 AND requests >= 100
