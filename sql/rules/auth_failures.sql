/*
severity   = "medium"
entity     = "api_key"
dedup      = "1h"
tags       = ["owasp:API2:2023", "attack:T1110"]
summary    = "{api_key}: {refused} calls refused in ten minutes, {accepted} accepted, from {addresses} addresses"
why        = [{ name = "calls refused in ten minutes", observed = "refused" }]
finds      = "A burst of calls under one key that the gateway refused: a wrong signature, secret or expiry."
matters    = "Somebody who knows the public half of a key tries the other half, or a thief holds a rotated secret."
misses     = "Guesses spread over many keys or over hours."
resembles  = "A client whose secret was rotated and who was not told; a clock that is wrong. Its owner's own address tells."
first_step = "Compare the addresses with those of the key's accepted calls. Do not suspend: refused calls prove nothing against the key's owner."
thresholds = "50 in ten minutes is one every twelve seconds: more than a person's retries, less than any guessing tool's pace."
*/
SELECT api_key,
       max(key_id) AS key_id,
       max(tenant) AS tenant,
       window_start,
       window_end,
       count(*) FILTER (WHERE auth_result IN ('bad_key', 'bad_signature', 'expired')) AS refused,
       count(*) FILTER (WHERE auth_result = 'ok') AS accepted,
       count(DISTINCT client_ip) FILTER (WHERE auth_result IN ('bad_key', 'bad_signature', 'expired')) AS addresses
FROM tumble(events, event_time, INTERVAL '10 minutes')
GROUP BY api_key, window_start, window_end
HAVING count(*) FILTER (WHERE auth_result IN ('bad_key', 'bad_signature', 'expired')) >= 50
