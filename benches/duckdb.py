"""DuckDB's side of the bench `backtest`: every row of B2's windows, from Parquet to lines of JSON.

    python duckdb.py FILE.parquet THREADS OUTPUT.ndjson

Prints what the query took, wall clock and processors, in seconds. The import and the connection are not
counted. Late rows and rows without a key are left out, as a backtest leaves them out.
"""

import json
import os
import sys
import time

# This file would stand in for the package of its name.
sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))]
import duckdb  # noqa: E402

path, threads, output = sys.argv[1:]
connection = duckdb.connect(config={"threads": int(threads)})
connection.execute("SET TimeZone = 'UTC'")
quoted = {name: text.replace("'", "''") for name, text in {"path": path, "output": output}.items()}
started, cpu_started = time.perf_counter(), time.process_time()
connection.execute(
    """
    COPY (
      SELECT api_key,
             date_trunc('minute', event_time) AS window_start,
             count(*) AS requests,
             sum(response_bytes) AS response_bytes,
             count(DISTINCT client_ip) AS addresses
      FROM read_parquet('{path}')
      WHERE NOT late AND api_key IS NOT NULL
      GROUP BY api_key, window_start
    ) TO '{output}' (FORMAT json)
    """.format(**quoted)
)
taken = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu_started}
print(json.dumps(taken))
