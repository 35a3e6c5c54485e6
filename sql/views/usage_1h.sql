/*
finds  = "What each key does in an hour, beside what is normal for it. Authenticated calls only."
unread = "Offered to rules of your own: the grain for what is slow, or rare."
*/
SELECT *,
       baseline(requests, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS baseline
FROM (
  SELECT api_key,
         window_start,
         window_end,
         max(key_id) AS key_id,
         max(tenant) AS tenant,
         count(*) AS requests,
         count(DISTINCT client_ip) AS addresses,
         count(DISTINCT country) AS countries,
         sum(response_bytes) AS response_bytes
  FROM tumble(events, event_time, INTERVAL '1 hour')
  WHERE auth_result = 'ok'
  GROUP BY api_key, window_start, window_end
)
