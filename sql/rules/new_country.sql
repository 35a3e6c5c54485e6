/*
severity   = "medium"
entity     = "api_key"
dedup      = "1d"
tags       = ["owasp:API2:2023", "attack:T1078"]
summary    = "{api_key} was used from {country} for the first time, after {active_days} days in {countries_before} other countries"
finds      = "An authenticated call from a country that the key was never used from, once it has been seen on three days."
matters    = "Keys seldom move. A new country is where a stolen one shows first, even when the thief is patient."
misses     = "A thief in the same country; a key that is younger than three days of use."
resembles  = "A journey, a new office or data centre, an address block that changed hands."
first_step = "Look at the network: a hosting provider or one the owner cannot explain speaks for theft. Ask the owner."
thresholds = "Three active days: most keys show all their countries in two."
*/
SELECT api_key,
       key_id,
       tenant,
       event_time,
       country,
       city,
       asn,
       as_org,
       client_net,
       place['active_days'] AS active_days,
       place['values'] AS countries_before
FROM (
  SELECT api_key, key_id, tenant, event_time, country, city, asn, as_org, client_net,
         first_seen(country, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS place
  FROM events
  WHERE auth_result = 'ok'
    AND country IS NOT NULL
    AND ip_kind NOT IN ('vpn', 'relay', 'tor')
)
WHERE place['is_new']
  AND place['active_days'] >= 3
