/*
finds = "What each key does until it is silent for five minutes."
*/
SELECT api_key,
       window_start,
       window_end,
       count(*) AS requests,
       sum(response_bytes) AS response_bytes
FROM session(events, event_time, INTERVAL '5 minutes', api_key)
GROUP BY api_key, window_start, window_end
