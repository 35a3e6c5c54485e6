/*
finds = "What each key does in ten minutes, and from where."
*/
SELECT api_key,
       window_start,
       window_end,
       count(*) AS requests,
       count(*) FILTER (WHERE auth_result <> 'ok') AS refusals,
       count(DISTINCT country) AS countries,
       count(DISTINCT asn) AS networks,
       sum(response_bytes) AS response_bytes
FROM tumble(events, event_time, INTERVAL '10 minutes')
GROUP BY api_key, window_start, window_end
