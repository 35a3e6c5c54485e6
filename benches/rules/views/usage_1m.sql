/*
finds = "What each key does in a minute. All rows of it are computed, whatever a rule lets through."
*/
SELECT api_key,
       window_start,
       window_end,
       window_time,
       count(*) AS requests,
       sum(response_bytes) AS response_bytes,
       count(DISTINCT client_ip) AS addresses
FROM tumble(events, event_time, INTERVAL '1 minute')
GROUP BY api_key, window_start, window_end, window_time
