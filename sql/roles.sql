-- Roles on PostgreSQL, run by the owner of the warehouse (a role that may create roles) after the first publication and after an upgrade:
--   psql -d WAREHOUSE -v ON_ERROR_STOP=1 -f sql/roles.sql
-- Give people and services one of them: GRANT nightly_reader TO ana.
--   nightly_owner   makes tables and views
--   nightly_loader  publishes nights; makes and drops nothing but temporary tables
--   nightly_reader  reads the views of schema published and nothing else; name it in the URL: ?options=-csearch_path%3Dpublished
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['nightly_owner', 'nightly_loader', 'nightly_reader'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END
$$;

CREATE SCHEMA IF NOT EXISTS published;

DO $$
DECLARE
    one record;
BEGIN
    EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO nightly_owner, nightly_loader', current_database());
    -- One view for each table and view that people may read; who asked to be forgotten is not among them.
    FOR one IN
        SELECT c.relname
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'erasure_request'
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW published.%I AS SELECT * FROM public.%I', one.relname, one.relname);
    END LOOP;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public, published TO nightly_owner;
GRANT ALL ON ALL TABLES IN SCHEMA public TO nightly_owner;

GRANT USAGE ON SCHEMA public TO nightly_loader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO nightly_loader;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM nightly_reader;
GRANT USAGE ON SCHEMA published TO nightly_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA published TO nightly_reader;
