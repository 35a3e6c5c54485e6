//! Stream against batch for each part of the language, alone and together.

use crate::identity::{Case, check_all};

const MINUTE: &str = "SELECT api_key, window_start, window_end, window_time, count(*) AS calls, sum(response_bytes) AS bytes, max(country) AS country
 FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end, window_time";
const REFUSED: &str = "SELECT api_key, window_start, window_end, count(*) AS refused FROM tumble(events, event_time, INTERVAL '1 minute')
 WHERE auth_result <> 'ok' GROUP BY api_key, window_start, window_end";

const AGGREGATES: &[Case] = &[
    ("avg_and_spread", &[], &[(
        "r",
        "SELECT api_key, window_end, avg(status) AS a, avg(latitude) AS b, avg(response_bytes) FILTER (WHERE status > 100) AS c,
         stddev(latitude) AS d, stddev_pop(response_bytes) AS e, var(status) AS f, var_pop(latitude) AS g,
         var_samp(status) AS h, stddev_samp(latitude) FILTER (WHERE country = 'DE') AS i
         FROM tumble(events, event_time, INTERVAL '5 minutes') GROUP BY api_key, window_end",
    )]),
    ("booleans", &[], &[(
        "r",
        "SELECT api_key, window_end, bool_and(is_hosting) AS a, bool_or(is_hosting) AS b, bool_and(status > 100) AS c,
         bool_or(status > 200) FILTER (WHERE country IS NOT NULL) AS d, min(is_hosting) AS e, max(is_hosting) AS f
         FROM tumble(events, event_time, INTERVAL '2 minutes') GROUP BY api_key, window_end",
    )]),
    ("first_and_last", &[], &[(
        "r",
        "SELECT api_key, window_end, first_value(country) AS a, last_value(country) AS b, first_value(status ORDER BY response_bytes) AS c,
         last_value(latitude ORDER BY event_time) AS d, last_value(country) IGNORE NULLS AS e, first_value(response_bytes) IGNORE NULLS AS f,
         first_value(country ORDER BY status DESC NULLS LAST) AS g, last_value(client_ip) FILTER (WHERE status = 100) AS h, first_value(is_hosting) AS i
         FROM tumble(events, event_time, INTERVAL '5 minutes') GROUP BY api_key, window_end",
    )]),
    ("arrays", &[], &[(
        "r",
        "SELECT api_key, window_end, array_slice(array_agg(country), 1, 3) AS a, array_slice(array_agg(status ORDER BY response_bytes DESC), 1, 2) AS b,
         array_slice(array_agg(country ORDER BY event_time) FILTER (WHERE country IS NOT NULL), 1, 2) AS c
         FROM tumble(events, event_time, INTERVAL '5 minutes') GROUP BY api_key, window_end HAVING count(*) > 1",
    )]),
    ("first_of_distinct_rows", &[], &[(
        "r",
        "WITH d AS (SELECT DISTINCT api_key, country, window_end, window_time FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '2 minutes'))
         SELECT api_key, window_time, first_value(country) AS f, last_value(country ORDER BY window_end) AS l FROM d GROUP BY api_key, window_time",
    )]),
    ("distinct_rows", &[], &[(
        "r",
        "SELECT DISTINCT api_key, country, window_end FROM tumble(events, event_time, INTERVAL '5 minutes')",
    )]),
];

#[test]
fn aggregates() {
    check_all(AGGREGATES);
}

const FRAMES: &[Case] = &[
    ("running", &[], &[(
        "r",
        "SELECT api_key, event_time, count(*) OVER w AS a, sum(response_bytes) OVER w AS b, min(status) OVER w AS c, max(country) OVER w AS d,
         avg(latitude) OVER w AS e, sum(latitude) OVER w AS f, first_value(country) OVER w AS g, last_value(country) OVER w AS h,
         nth_value(status, 2) OVER w AS i, rank() OVER w AS j, dense_rank() OVER w AS k, row_number() OVER w AS l,
         stddev(status) OVER w AS m, bool_or(is_hosting) OVER w AS n, count(country) OVER w AS o
         FROM events WINDOW w AS (PARTITION BY api_key ORDER BY event_time)",
    )]),
    ("rows", &[], &[(
        "r",
        "SELECT api_key, event_time,
         count(*) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS a,
         sum(response_bytes) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS b,
         min(response_bytes) OVER (PARTITION BY api_key ORDER BY event_time ROWS 4 PRECEDING) AS c,
         max(client_ip) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS d,
         avg(latitude) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS e,
         first_value(country) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS f,
         last_value(status) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS g,
         nth_value(country, 2) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS h,
         var_pop(latitude) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS i
         FROM events",
    )]),
    ("ranges", &[], &[(
        "r",
        "SELECT api_key, event_time,
         count(*) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW) AS a,
         sum(response_bytes) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND INTERVAL '30 seconds' PRECEDING) AS b,
         min(latitude) OVER (PARTITION BY api_key ORDER BY event_time RANGE INTERVAL '5 minutes' PRECEDING) AS c,
         avg(status) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '2 minutes' PRECEDING AND CURRENT ROW) AS d,
         count(*) FILTER (WHERE auth_result <> 'ok') OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS e,
         sum(latitude) FILTER (WHERE status > 100) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS f,
         last_value(country) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL '1 minute' PRECEDING) AS g
         FROM events",
    )]),
    ("frames_over_windows", &[("minute", MINUTE)], &[(
        "r",
        "SELECT api_key, window_end, calls, sum(calls) OVER (PARTITION BY api_key ORDER BY window_end ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS before,
         avg(bytes) OVER (PARTITION BY api_key ORDER BY window_end RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW) AS mean
         FROM minute QUALIFY before IS NOT NULL",
    )]),
    ("two_partitionings", &[], &[(
        "r",
        "SELECT api_key, event_time, count(*) OVER (PARTITION BY api_key ORDER BY event_time) AS a,
         count(*) OVER (PARTITION BY api_key, country ORDER BY event_time) AS b,
         lag(event_time) OVER (PARTITION BY api_key, status ORDER BY event_time) AS c FROM events WHERE response_bytes > 0",
    )]),
    ("keys_that_are_constant", &[("v", "SELECT window_end, api_key, -1.25 AS c, count(*) AS n FROM tumble(events, event_time, INTERVAL '10 minutes') GROUP BY api_key, window_end")], &[(
        "r",
        "SELECT api_key, window_end, n, row_number() OVER (PARTITION BY c, api_key ORDER BY window_end) AS a, lag(n) OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM v",
    ), (
        "s",
        "SELECT api_key, event_time, row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n, sum(status) OVER (PARTITION BY country, api_key ORDER BY event_time) AS s
         FROM events WHERE api_key = 'key-0' AND country = 'DE'",
    ), (
        "t",
        "SELECT api_key, event_time, lag(upper(country)) OVER (PARTITION BY upper(country) || '-' || upper(country), api_key ORDER BY event_time) AS n FROM events",
    ), (
        "u",
        "SELECT api_key, window_start, row_number() OVER (PARTITION BY ((CAST(window_end AS BIGINT) - CAST(window_end AS BIGINT)) / 1000), api_key ORDER BY window_start) AS n
         FROM (SELECT api_key, window_start, window_end FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end)",
    ), (
        "v2",
        "SELECT api_key, event_time, k, count(*) OVER (PARTITION BY k ORDER BY event_time) AS n FROM (SELECT api_key, event_time, 7 AS k FROM events)",
    )]),
    ("sequence_by_frames", &[], &[(
        "r",
        "SELECT api_key, event_time, failures FROM (
           SELECT api_key, event_time, auth_result, count(*) FILTER (WHERE auth_result <> 'ok')
             OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS failures FROM events)
         WHERE auth_result = 'ok' AND failures >= 1",
    )]),
];

#[test]
fn frames() {
    check_all(FRAMES);
}

/// Rows of a key in these logs are often further apart than a minute, and seldom than an hour.
const RETENTION: &[Case] = &[
    ("retention_of_every_function", &[], &[(
        "r",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"1m\"\n*/
         SELECT api_key, event_time, row_number() OVER w AS a, rank() OVER w AS b, dense_rank() OVER w AS c, lag(country) OVER w AS d, lag(status, 2, -1) OVER w AS e,
         lag(client_ip) IGNORE NULLS OVER w AS f, count(*) OVER w AS g, sum(latitude) OVER w AS h, max(country) OVER w AS i, avg(status) OVER w AS j,
         first_value(country) OVER w AS k, last_value(country) IGNORE NULLS OVER w AS l, nth_value(status, 2) OVER w AS m, bool_or(is_hosting) OVER w AS n,
         first_seen(country, event_time) OVER w AS o, baseline(response_bytes, event_time, INTERVAL '1 minute') OVER w AS p
         FROM events WINDOW w AS (PARTITION BY api_key ORDER BY event_time)",
    )]),
    ("retention_of_frames", &[], &[(
        "r",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"90s\"\n*/
         SELECT api_key, event_time,
         count(*) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS a,
         sum(response_bytes) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS b,
         min(latitude) OVER (PARTITION BY api_key ORDER BY event_time RANGE INTERVAL '5 minutes' PRECEDING) AS c,
         avg(status) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND INTERVAL '30 seconds' PRECEDING) AS d,
         sum(latitude) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '30 seconds' PRECEDING AND CURRENT ROW) AS e,
         last_value(country) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL '1 minute' PRECEDING) AS f
         FROM events",
    )]),
    ("retention_of_long_ranges_alone", &[], &[(
        "r",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"1m\"\n*/
         SELECT api_key, event_time, count(*) OVER w AS a, min(status) OVER w AS b, avg(latitude) OVER w AS c
         FROM events WINDOW w AS (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW)",
    )]),
    ("ranges_that_forget_by_themselves", &[], &[(
        "r",
        "SELECT api_key, event_time, count(*) OVER w AS a, min(latitude) OVER w AS b, stddev(status) OVER w AS c, first_value(country) OVER w AS d
         FROM events WINDOW w AS (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW)",
    ), (
        "s",
        "SELECT api_key, event_time, count(*) OVER w AS a, nth_value(status, 2) OVER w AS b
         FROM events WINDOW w AS (PARTITION BY api_key, country ORDER BY event_time RANGE BETWEEN CURRENT ROW AND CURRENT ROW)",
    ), (
        "t",
        "SELECT api_key, event_time, sum(latitude) OVER w AS a, max(country) OVER w AS b, count(*) OVER w AS c
         FROM events WINDOW w AS (PARTITION BY api_key, country ORDER BY event_time RANGE BETWEEN INTERVAL '2 minutes' PRECEDING AND INTERVAL '40 seconds' PRECEDING)",
    )]),
    ("retention_of_several_keys", &[], &[(
        "r",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"2m\"\n*/
         SELECT api_key, event_time, row_number() OVER (PARTITION BY api_key, country ORDER BY event_time) AS a,
         lag(event_time) OVER (PARTITION BY upper(country), api_key, status ORDER BY event_time) AS b,
         count(*) OVER (PARTITION BY api_key, 7 ORDER BY event_time) AS c,
         sum(status) OVER (PARTITION BY api_key ORDER BY event_time) AS d FROM events",
    )]),
    ("retention_of_windows", &[("minute", MINUTE), (
        "growth",
        "/* retention = \"3m\" */
         SELECT *, calls - lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS more, row_number() OVER (PARTITION BY api_key ORDER BY window_start) AS nth FROM minute",
    )], &[(
        "r",
        "SELECT api_key, window_end, more, nth, lag(more) OVER (PARTITION BY api_key ORDER BY window_end) AS before FROM growth",
    ), (
        "s",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"2m\"\n*/
         SELECT api_key, window_end, b FROM (
           SELECT api_key, window_end, baseline(calls, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b, row_number() OVER (PARTITION BY api_key ORDER BY window_end) AS n FROM minute)
         WHERE n > 1 AND api_key <> 'key-1'",
    )]),
    ("retention_of_an_over_on_an_over", &[], &[(
        "r",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"1m 30s\"\n*/
         SELECT api_key, event_time, n, lag(n) OVER (PARTITION BY api_key ORDER BY event_time) AS before, sum(n) OVER (PARTITION BY api_key ORDER BY event_time) AS s
         FROM (SELECT api_key, event_time, row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n FROM events WHERE auth_result = 'ok') WHERE n % 3 <> 0",
    )]),
    ("retention_of_the_rows_that_are_left", &[], &[(
        "r",
        "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"4m\"\n*/
         SELECT api_key, window_start, window_end, calls, lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS before
         FROM (SELECT api_key, window_start, window_end, count(*) AS calls FROM session(events, event_time, INTERVAL '1 minute', api_key) GROUP BY api_key, window_start, window_end HAVING count(*) > 1)",
    )]),
];

#[test]
fn retention() {
    check_all(RETENTION);
}

const WINDOWS: &[Case] = &[
    ("hop", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, window_time, count(*) AS n, sum(response_bytes) AS b, count(DISTINCT country) AS c, first_value(country) AS d, avg(latitude) AS e
         FROM hop(events, event_time, INTERVAL '30 seconds', INTERVAL '2 minutes') WHERE auth_result = 'ok' GROUP BY api_key, window_start, window_end, window_time",
    )]),
    ("hop_uneven", &[], &[(
        "r",
        "SELECT api_key, country, window_end, count(*) AS n, max(event_time) AS t FROM hop(events, event_time, INTERVAL '40 seconds', INTERVAL '100 seconds')
         GROUP BY api_key, country, window_end HAVING count(*) >= 2",
    )]),
    ("hop_by_its_last_millisecond", &[], &[(
        "r",
        "SELECT api_key, window_time, count(*) AS n FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY api_key, window_time",
    )]),
    ("hop_whose_bounds_are_read", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, count(*) AS n, count(*) FILTER (WHERE event_time >= window_end - INTERVAL '30 seconds') AS newest
         FROM hop(events, event_time, INTERVAL '30 seconds', INTERVAL '2 minutes') GROUP BY api_key, window_start, window_end",
    )]),
    ("empty_minutes_in_a_session", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, min(date_trunc('minute', record_time)) AS m, max(event_time) FILTER (WHERE status = 100) AS x
         FROM session(events, event_time, INTERVAL '1 minute', api_key) GROUP BY api_key, window_start, window_end",
    )]),
    ("hop_row_by_row", &[], &[(
        "r",
        "SELECT api_key, event_time, window_start, window_end FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '2 minutes') WHERE status = 100",
    )]),
    ("baseline_over_hop", &[("v", "SELECT api_key, window_end, count(*) AS calls FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY api_key, window_end")], &[(
        "r",
        "SELECT api_key, window_end, baseline(calls, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM v",
    )]),
    ("hop_of_tumble", &[("minute", MINUTE)], &[(
        "r",
        "SELECT api_key, window_start, window_end, sum(calls) AS n, count(*) AS minutes FROM hop(minute, window_time, INTERVAL '2 minutes', INTERVAL '6 minutes')
         GROUP BY api_key, window_start, window_end",
    )]),
    ("hop_of_rows_that_had_a_key", &[], &[(
        "r",
        "WITH c AS (SELECT window_end AS e, window_time AS t, window_start AS s, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY window_start, window_end, window_time)
         SELECT w.e AS api_key, count(*) AS m FROM hop(c, e, INTERVAL '1 minute', INTERVAL '2 minutes') AS w GROUP BY w.e, w.t, w.s HAVING count(*) = 2",
    )]),
    ("session", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, window_time, count(*) AS n, sum(response_bytes) AS b, count(DISTINCT country) AS c, last_value(country) AS d
         FROM session(events, event_time, INTERVAL '1 minute', api_key) GROUP BY api_key, window_start, window_end, window_time",
    )]),
    ("session_filtered", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, count(*) AS n, max(status) AS s FROM session(events, event_time, INTERVAL '2 minutes', api_key)
         WHERE auth_result <> 'ok' AND status IS NOT NULL GROUP BY api_key, window_start, window_end HAVING count(*) > 1 AND window_end - window_start > INTERVAL '3 minutes'",
    )]),
    ("session_with_a_length", &[], &[(
        "r",
        "SELECT country, api_key, window_start, window_end, count(*) AS n FROM session(events, event_time, INTERVAL '3 minutes', api_key, country, max => INTERVAL '5 minutes')
         GROUP BY api_key, country, window_start, window_end",
    )]),
    ("session_of_windows", &[("minute", MINUTE)], &[(
        "r",
        "SELECT api_key, window_start, window_end, sum(calls) AS n, count(*) AS minutes FROM session(minute, window_time, INTERVAL '3 minutes', api_key)
         GROUP BY api_key, window_start, window_end",
    )]),
    ("history_of_sessions", &[("visits", "SELECT api_key, window_start, window_end, count(*) AS calls FROM session(events, event_time, INTERVAL '1 minute', api_key) GROUP BY api_key, window_start, window_end")], &[(
        "r",
        "SELECT api_key, window_start, window_end, calls, lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS before,
         avg(calls) OVER (PARTITION BY api_key ORDER BY window_end ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS usual FROM visits",
    )]),
];

#[test]
fn windows() {
    check_all(WINDOWS);
}

/// Calls a minute, also of up to three silent minutes.
const FILLED: &str = "SELECT api_key, window_start, window_end, window_time, count(*) AS calls, sum(response_bytes) AS bytes, max(country) AS country
 FROM tumble(events, event_time, INTERVAL '1 minute', fill => 3) GROUP BY api_key, window_start, window_end, window_time";

const FILLS: &[Case] = &[
    ("fill_of_every_aggregate", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, window_time, count(*) AS a, count(country) AS b, count(DISTINCT country) AS c, sum(response_bytes) AS d, avg(latitude) AS e,
         min(status) AS f, bool_or(is_hosting) AS g, first_value(country) AS h, count(*) FILTER (WHERE status > 100) AS i, stddev(status) AS j,
         array_slice(array_agg(country), 1, 2) AS k
         FROM tumble(events, event_time, INTERVAL '1 minute', fill => 2) WHERE auth_result = 'ok' GROUP BY api_key, window_start, window_end, window_time",
    )]),
    ("fill_by_one_bound", &[], &[(
        "by_start",
        "SELECT api_key, window_start, count(*) AS n FROM tumble(events, event_time, INTERVAL '30 seconds', fill => 5) GROUP BY api_key, window_start",
    ), (
        "by_end",
        "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '30 seconds', fill => 1) GROUP BY api_key, window_end",
    ), (
        "by_time",
        "SELECT window_time, api_key, count(*) AS n FROM tumble(events, event_time, INTERVAL '30 seconds', fill => 1000) GROUP BY api_key, window_time",
    )]),
    ("fill_of_silence_alone", &[], &[(
        "r",
        "SELECT api_key, window_end FROM tumble(events, event_time, INTERVAL '1 minute', fill => 1) GROUP BY api_key, window_end HAVING count(*) = 0",
    ), (
        "s",
        "SELECT api_key, window_end, n FROM (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute', fill => 4) GROUP BY api_key, window_end)
         WHERE date_part('minute', window_end) % 2 = 0 AND api_key <> 'key-1' AND n < 2",
    )]),
    ("fill_by_several_keys", &[], &[(
        "r",
        "SELECT api_key, country, window_start, status / 100 AS class, sum(response_bytes) AS b FROM tumble(events, event_time, INTERVAL '2 minutes', fill => 2)
         GROUP BY country, window_start, api_key, status / 100",
    ), (
        "s",
        "SELECT country AS api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute', fill => 3) GROUP BY country, window_end",
    )]),
    ("fill_of_distinct_rows", &[], &[(
        "r",
        "SELECT DISTINCT api_key, country, window_end FROM tumble(events, event_time, INTERVAL '5 minutes', fill => 2)",
    )]),
    ("fill_in_a_view", &[("filled", FILLED)], &[(
        "r",
        "SELECT api_key, window_end, calls, bytes, lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS before,
         sum(calls) OVER (PARTITION BY api_key ORDER BY window_end ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS lately,
         baseline(calls, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM filled",
    ), (
        "s",
        "SELECT api_key, window_end, sum(calls) AS calls, count(*) AS minutes, count(*) FILTER (WHERE calls = 0) AS silent
         FROM tumble(filled, window_time, INTERVAL '1 hour') GROUP BY api_key, window_end",
    ), (
        "t",
        "SELECT window_end AS api_key, window_end, count(*) AS keys, sum(calls) AS calls FROM filled GROUP BY window_end",
    )]),
    ("fill_of_windows_of_windows", &[("minute", MINUTE)], &[(
        "by_time",
        "SELECT api_key, window_start, sum(calls) AS n FROM tumble(minute, window_time, INTERVAL '5 minutes', fill => 2) GROUP BY api_key, window_start",
    ), (
        "by_end",
        "SELECT api_key, window_end, sum(calls) AS n FROM tumble(minute, window_end, INTERVAL '5 minutes', fill => 2) GROUP BY api_key, window_end",
    ), (
        "by_start",
        "SELECT api_key, window_start, window_end, sum(calls) AS n FROM tumble(minute, window_start, INTERVAL '4 minutes', fill => 2) GROUP BY api_key, window_start, window_end",
    )]),
    ("fill_of_a_filled_view", &[("filled", FILLED)], &[(
        "r",
        "SELECT api_key, window_end, sum(calls) AS n, count(*) AS rows_of FROM tumble(filled, window_time, INTERVAL '2 minutes', fill => 2) GROUP BY api_key, window_end",
    )]),
    ("fill_and_joins", &[("filled", FILLED), ("refused", REFUSED)], &[(
        "r",
        "SELECT m.api_key, m.window_end, m.calls, r.refused FROM filled m LEFT JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end",
    ), (
        "s",
        "SELECT e.api_key, e.country, window_end, max(c.risk) AS risk FROM tumble(events, event_time, INTERVAL '1 minute', fill => 2) e JOIN countries c ON e.country = c.code
         GROUP BY e.api_key, e.country, window_end",
    )]),
];

#[test]
fn fills() {
    check_all(FILLS);
}

const FAILURES: &[Case] = &[
    ("failing_projection", &[], &[(
        "r",
        "SELECT api_key, event_time, 1000 / status AS a, CAST(path AS BIGINT) AS b, response_bytes * 9223372036854775 AS c, status % response_bytes AS d FROM events",
    )]),
    ("failing_condition", &[], &[(
        "r",
        "SELECT api_key, event_time FROM events WHERE 1000 / status > 4 OR CAST(path AS BIGINT) = 12",
    )]),
    ("failing_arguments", &[], &[(
        "r",
        "SELECT api_key, window_end, sum(1000 / status) AS a, count(CAST(path AS BIGINT)) AS b, count(*) FILTER (WHERE 1000 / status > 4) AS c,
         first_value(CAST(path AS BIGINT) ORDER BY 1000 / status) AS d FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
    )]),
    ("never_null", &[], &[(
        "r",
        "SELECT api_key, window_end, count(1) FILTER (WHERE is_hosting IS NOT TRUE) AS n, max(coalesce(1000 / status, 0)) AS m, coalesce(1000 / status, 1) AS k
         FROM tumble(events, event_time, INTERVAL '90 seconds') GROUP BY api_key, window_end, coalesce(1000 / status, 1)",
    ), (
        "s",
        "SELECT api_key, event_time, coalesce(1000 / status, 1) AS k, lag(coalesce(1000 / status, 1)) OVER (PARTITION BY api_key, coalesce(CAST(path AS BIGINT), 1) ORDER BY event_time) AS l FROM events",
    )]),
    ("failing_key", &[], &[(
        "r",
        "SELECT api_key, 1000 / status AS k, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, 1000 / status, window_end",
    )]),
    ("failing_over", &[], &[(
        "r",
        "SELECT api_key, event_time, lag(1000 / status) OVER (PARTITION BY api_key ORDER BY event_time) AS a,
         sum(CAST(path AS BIGINT)) OVER (PARTITION BY api_key ORDER BY event_time ROWS 3 PRECEDING) AS b,
         avg(1000 / status) FILTER (WHERE 500 / status > 2) OVER (PARTITION BY api_key ORDER BY event_time) AS c,
         count(*) OVER (PARTITION BY api_key, 1000 / status ORDER BY event_time) AS d FROM events",
    )]),
    ("failing_having", &[], &[(
        "r",
        "SELECT api_key, window_end, 100 / (count(*) - 1) AS a FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end
         HAVING 100 / (count(*) - 2) > 0 OR count(*) = 3",
    )]),
];

#[test]
fn failing_expressions() {
    check_all(FAILURES);
}

const JOINS: &[Case] = &[
    ("union", &[], &[(
        "r",
        "SELECT api_key, event_time, country AS what FROM events WHERE status = 100 UNION ALL SELECT api_key, event_time, client_ip FROM events WHERE auth_result <> 'ok'
         UNION ALL SELECT api_key, event_time, 'all' FROM events WHERE status > 100",
    )]),
    ("union_in_a_window", &[], &[(
        "r",
        "WITH all_of AS (SELECT api_key, event_time, response_bytes AS n FROM events WHERE status = 100 UNION ALL SELECT api_key, event_time, -status FROM events)
         SELECT api_key, window_end, count(*) AS c, sum(n) AS s, first_value(n) AS f FROM tumble(all_of, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
    )]),
    ("union_in_order", &[], &[(
        "r",
        "SELECT api_key, event_time, what, lag(what) OVER (PARTITION BY api_key ORDER BY event_time) AS before, row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n
         FROM (SELECT api_key, event_time, country AS what FROM events UNION ALL SELECT api_key, event_time, auth_result FROM events)",
    )]),
    ("union_of_views", &[("minute", MINUTE), ("refused", REFUSED)], &[(
        "r",
        "SELECT api_key, window_end, calls FROM minute UNION ALL SELECT api_key, window_end, refused FROM refused",
    ), (
        "s",
        "SELECT api_key, window_end, calls, sum(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS n
         FROM (SELECT api_key, window_end, calls FROM minute UNION ALL SELECT api_key, window_end, refused FROM refused)",
    )]),
    ("table_inner", &[], &[(
        "r",
        "SELECT e.api_key, e.event_time, c.code, c.risk, c.risk + e.status AS both FROM events e JOIN countries c ON e.country = c.code WHERE e.status > 0",
    )]),
    ("table_left", &[], &[(
        "r",
        "SELECT e.api_key, e.event_time, e.country, c.risk FROM events e LEFT JOIN countries c ON e.country = c.code AND c.risk > e.status",
    )]),
    ("table_right_is_left", &[], &[(
        "r",
        "SELECT e.api_key, e.event_time, e.country, c.risk FROM (SELECT code, risk FROM countries WHERE risk IS NOT NULL) c RIGHT JOIN events e ON e.country = c.code",
    )]),
    ("table_before_a_window", &[], &[(
        "r",
        "SELECT e.api_key, window_end, count(*) AS n, sum(c.risk) AS risk, first_value(c.risk) AS f FROM tumble(events, event_time, INTERVAL '2 minutes') e JOIN countries c ON e.country = c.code
         GROUP BY e.api_key, window_end",
    )]),
    ("table_before_an_over", &[], &[(
        "r",
        "SELECT api_key, event_time, risk, lag(risk) OVER (PARTITION BY api_key ORDER BY event_time) AS before
         FROM (SELECT e.api_key, e.event_time, c.risk FROM events e JOIN countries c ON e.country = c.code)",
    )]),
    ("in_a_table", &[], &[(
        "r",
        "SELECT api_key, event_time, country FROM events WHERE country IN (SELECT code FROM countries WHERE risk >= 100)",
    ), (
        "s",
        "SELECT api_key, event_time, country FROM events WHERE country NOT IN (SELECT code FROM countries WHERE code IS NOT NULL)",
    ), (
        "t",
        "SELECT api_key, event_time, country FROM events WHERE country NOT IN (SELECT code FROM countries)",
    )]),
    ("exists_in_a_table", &[], &[(
        "r",
        "SELECT api_key, event_time, country FROM events e WHERE EXISTS (SELECT 1 FROM countries c WHERE c.code = e.country AND c.risk > 50)",
    ), (
        "s",
        "SELECT api_key, event_time, country FROM events e WHERE NOT EXISTS (SELECT 1 FROM countries c WHERE c.code = e.country) AND status = 100",
    )]),
    ("addresses", &[], &[(
        "r",
        "SELECT e.api_key, e.event_time, ip_net(e.client_ip, 24, 112) AS net, ip_in(e.client_ip, '2001:db8:85a3:8d3:1319:8a2e:370:2/127') AS known, ip_in(e.client_ip, c.networks) AS registered
         FROM events e JOIN countries c ON e.country = c.code",
    )]),
    ("two_views", &[("minute", MINUTE), ("refused", REFUSED)], &[(
        "r",
        "SELECT m.api_key, m.window_end, m.calls, r.refused FROM minute m JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end",
    ), (
        "s",
        "SELECT m.api_key, m.window_end, m.calls, r.refused FROM minute m LEFT JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end AND r.refused < m.calls",
    ), (
        "t",
        "SELECT m.api_key, m.window_end, m.calls FROM minute m WHERE EXISTS (SELECT 1 FROM refused r WHERE r.api_key = m.api_key AND r.window_end = m.window_end)",
    ), (
        "u",
        "SELECT m.api_key, m.window_end, m.calls FROM minute m WHERE NOT EXISTS (SELECT 1 FROM refused r WHERE r.api_key = m.api_key AND r.window_end = m.window_end)",
    )]),
    ("two_views_in_order", &[("minute", MINUTE), ("refused", REFUSED), (
        "both",
        "SELECT m.api_key, m.window_end, m.calls, coalesce(r.refused, 0) AS refused FROM minute m LEFT JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end",
    )], &[(
        "r",
        "SELECT api_key, window_end, refused, sum(refused) OVER (PARTITION BY api_key ORDER BY window_end ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) AS lately FROM both",
    )]),
    ("no_partner", &[("minute", MINUTE), ("refused", REFUSED), (
        "both",
        "SELECT m.api_key, m.window_end, m.calls, r.api_key AS r_key, r.window_end AS r_end, r.refused FROM minute m LEFT JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end",
    )], &[(
        "r",
        "SELECT api_key, window_end, r_end, count(*) OVER (PARTITION BY api_key, r_end ORDER BY window_end) AS n FROM both",
    ), (
        "s",
        "SELECT r_end, r_key AS api_key, window_end, sum(calls) AS s FROM both GROUP BY r_end, r_key, window_end",
    ), (
        "t",
        "SELECT r_key AS api_key, window_end, row_number() OVER (PARTITION BY r_key ORDER BY window_end) AS n FROM both",
    ), (
        "u",
        "SELECT r.api_key, r.window_end AS e, m.window_end, m.calls FROM minute m RIGHT JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end AND m.calls > 2",
    )]),
    ("joined_by_another_key", &[("minute", MINUTE)], &[(
        "r",
        "SELECT b.api_key, b.window_end, row_number() OVER (PARTITION BY b.api_key ORDER BY b.window_end) AS n FROM minute a JOIN minute b ON a.window_end = b.window_end AND a.country = b.country",
    ), (
        "s",
        "SELECT b.api_key, b.window_end, count(*) AS n FROM minute a LEFT JOIN minute b ON a.window_end = b.window_end AND a.calls = b.calls AND a.api_key <> b.api_key GROUP BY b.api_key, a.window_end, b.window_end",
    )]),
    ("one_name_on_both_sides", &[("minute", MINUTE)], &[(
        "r",
        "SELECT l.api_key, l.window_end, count(*) FILTER (WHERE l.calls <= r.calls) OVER (PARTITION BY l.api_key ORDER BY l.window_end) AS c, lag(r.calls + 1) OVER (PARTITION BY upper(r.api_key) ORDER BY l.window_end) AS d
         FROM minute l JOIN minute r ON l.window_end = r.window_end AND l.api_key = r.api_key",
    ), (
        "s",
        "SELECT l.api_key, r.calls + 1 AS x, sum(l.calls + r.calls) AS c, first_value(r.calls ORDER BY l.calls DESC) AS d FROM minute l LEFT JOIN minute r ON l.window_end = r.window_end AND l.api_key = r.api_key AND l.calls > 1
         GROUP BY l.api_key, l.window_end, r.calls + 1",
    )]),
    ("union_of_lists", &[], &[(
        "r",
        "SELECT api_key, window_end AS t, scopes FROM (SELECT DISTINCT api_key, scopes, window_end FROM tumble(events, event_time, INTERVAL '5 minutes')) UNION ALL SELECT api_key, event_time, scopes FROM events",
    )]),
    ("conditions_of_joins_that_fail", &[("minute", MINUTE), ("refused", REFUSED)], &[(
        "r",
        "SELECT e.api_key, e.event_time, c.code FROM events e JOIN countries c ON e.country = c.code AND 100 / (c.risk - e.status + 90) > 0",
    ), (
        "s",
        "SELECT e.api_key, e.event_time, c.code FROM events e LEFT JOIN countries c ON e.country = c.code AND 100 / (c.risk - e.status + 90) > 0",
    ), (
        "t",
        "SELECT m.api_key, m.window_end, r.refused FROM minute m LEFT JOIN refused r ON m.api_key = r.api_key AND m.window_end = r.window_end AND 10 / (m.calls - r.refused) >= 1",
    ), (
        "u",
        "SELECT m.api_key, m.window_end FROM minute m WHERE NOT EXISTS (SELECT 1 FROM refused r WHERE m.api_key = r.api_key AND m.window_end = r.window_end AND 10 / (m.calls - r.refused) >= 1)",
    ), (
        "v",
        "SELECT e.api_key, e.event_time, c.share FROM events e JOIN (SELECT code, 1000 / risk AS share FROM countries WHERE 1000 / risk IS NOT NULL OR risk = 0) c ON e.country = c.code",
    )]),
    ("a_view_with_itself_through_an_order", &[("minute", MINUTE), (
        "ranked",
        "SELECT api_key, window_end, calls, lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS before FROM minute",
    )], &[(
        "r",
        "SELECT a.api_key, a.window_end, a.before, b.bytes FROM ranked a JOIN minute b ON a.api_key = b.api_key AND a.window_end = b.window_end WHERE a.before > 0",
    )]),
];

#[test]
fn joins_and_unions() {
    check_all(JOINS);
}
