/*
severity   = "high"
entity     = "api_key"
action     = "suspend"
dedup      = "1h"
tags       = ["owasp:API4:2023", "attack:T1499"]
summary    = "{api_key} made {requests} requests in ten minutes; about {expected} expected"
why        = [{ name = "requests in ten minutes", observed = "requests", expected = "expected", surprise = "surprise" }]
finds      = "A key used far more often than it ever is at this hour."
matters    = "A stolen key is used at the thief's pace: to drain an account, to export, or to resell."
misses     = "Growth of less than about half a window's noise a step, and takeovers at the key's own pace."
resembles  = "A release, a backfill, a campaign, a retry storm after an outage: ask the owner first."
first_step = "Look at the addresses and networks of the last ten minutes: are they the key's own? If not, suspend it."
thresholds = "surprise > 4 is one window in 10,000 by chance; 100 requests is the least that does harm."
*/
SELECT api_key,
       key_id,
       tenant,
       window_start,
       window_end,
       requests,
       addresses,
       countries,
       round(baseline['expected'], 1) AS expected,
       round(baseline['surprise'], 2) AS surprise
FROM usage_10m
WHERE baseline['surprise'] > 4
  AND requests >= 100
