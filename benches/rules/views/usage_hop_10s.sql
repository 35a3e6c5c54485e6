/*
finds = "What each key did in the last ten minutes, every ten seconds: each call is counted in sixty rows."
*/
SELECT api_key,
       window_start,
       window_end,
       count(*) AS requests,
       sum(response_bytes) AS response_bytes
FROM hop(events, event_time, INTERVAL '10 seconds', INTERVAL '10 minutes')
GROUP BY api_key, window_start, window_end
