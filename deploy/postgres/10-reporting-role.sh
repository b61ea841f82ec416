#!/bin/sh
# Run once by the postgres image, on an empty data directory: a role that may read the views of the
# schema reporting, which `gateway migrate` will make, and nothing else.
set -e
[ -n "$REPORTING_PASSWORD" ] || exit 0
psql -v ON_ERROR_STOP=1 -v password="$REPORTING_PASSWORD" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE reporting LOGIN PASSWORD :'password';
CREATE SCHEMA reporting;
GRANT USAGE ON SCHEMA reporting TO reporting;
ALTER DEFAULT PRIVILEGES IN SCHEMA reporting GRANT SELECT ON TABLES TO reporting;
ALTER ROLE reporting SET default_transaction_read_only = on;
ALTER ROLE reporting SET statement_timeout = '30s';
SQL
