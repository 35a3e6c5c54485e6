/*
severity   = "high"
entity     = "api_key"
action     = "suspend"
dedup      = "1h"
tags       = ["owasp:API2:2023", "attack:T1078"]
summary    = "{api_key} was used in {city}, {country}, {km} km from where it was used {minutes} minutes before ({previous_country})"
why        = [{ name = "kilometres travelled", observed = "km", expected = "possible_km" }]
finds      = "Two authenticated calls too far apart for the time between them, after the accuracy of both places is taken off."
matters    = "Nobody flies at 900 km/h from door to door: two people hold the key."
misses     = "A thief within 500 km, or one who waits for as long as the flight takes."
resembles  = "A network whose addresses lie elsewhere than the database says; two data centres of one owner under one key."
first_step = "See whether both places go on being used. If the second is new to the key, suspend it and call the owner."
thresholds = "900 km/h is an airliner's cruise; 500 km is beyond the radius that MaxMind states for most cities."
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
       ip_kind,
       previous_country,
       round(travelled_km) AS km,
       round(900 * hours) AS possible_km,
       round(60 * hours) AS minutes
FROM (
  SELECT *,
         travel_km(previous_latitude, previous_longitude, previous_radius_km,
                   latitude, longitude, accuracy_radius_km) AS travelled_km,
         CAST(CAST(event_time AS BIGINT) - CAST(previous_time AS BIGINT) AS DOUBLE) / 3600000 AS hours
  FROM (
    SELECT api_key, key_id, tenant, event_time, country, city, asn, as_org, client_net, ip_kind,
           latitude, longitude, accuracy_radius_km,
           lag(CASE WHEN settled THEN event_time END) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS previous_time,
           lag(CASE WHEN settled THEN latitude END) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS previous_latitude,
           lag(CASE WHEN settled THEN longitude END) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS previous_longitude,
           lag(CASE WHEN settled THEN accuracy_radius_km END) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS previous_radius_km,
           lag(CASE WHEN settled THEN client_net END) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS previous_net,
           lag(CASE WHEN settled THEN coalesce(country, '') END) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS previous_country
    FROM (
      SELECT *, ip_kind NOT IN ('vpn', 'relay', 'tor') AS settled
      FROM events
      WHERE auth_result = 'ok'
        AND latitude IS NOT NULL
        AND longitude IS NOT NULL
        AND accuracy_radius_km IS NOT NULL
    )
  )
)
WHERE travelled_km >= 500
  AND travelled_km > 900 * hours
  AND client_net <> previous_net
