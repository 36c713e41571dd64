#!/bin/sh
# Run once by PostgreSQL's image on an empty volume: a role and a database of its name for each line of the file of passwords.
set -eu
while IFS=: read -r _ _ database role password; do
    psql -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -v role="$role" -v password="$password" -v database="$database" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
SQL
done <"${PGPASSFILE_OF_ROLES:-/run/secrets/pgpass}"
