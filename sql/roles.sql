-- Roles on PostgreSQL, run by the owner of the warehouse (a role that may create roles) after the first publication and after an upgrade:
--   psql -d WAREHOUSE -v ON_ERROR_STOP=1 -f sql/roles.sql
-- Give people and services one of them: GRANT nightly_reader TO ana.
--   nightly_owner   owns tables and views, and migrates them: python -m jobs migrate
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
GRANT nightly_owner TO CURRENT_USER;
GRANT USAGE, CREATE ON SCHEMA public, published TO nightly_owner;

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
        EXECUTE format('ALTER VIEW published.%I OWNER TO nightly_owner', one.relname);
    END LOOP;
    FOR one IN
        SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE format('ALTER %s public.%I OWNER TO nightly_owner', one.kind, one.relname);
    END LOOP;
    -- Everybody may write large objects, and take advisory locks such as the publisher's, until a superuser says otherwise.
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        FOR one IN
            SELECT p.oid::regprocedure AS name, p.proname LIKE 'pg_%' AS is_lock
            FROM pg_proc p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(lo_|loread$|lowrite$|pg_(try_)?advisory_)'
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one.name);
            IF one.is_lock THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO nightly_owner, nightly_loader', one.name);
            END IF;
        END LOOP;
    ELSE
        RAISE NOTICE 'to keep readers from writing large objects and taking the publisher''s lock, run this as a superuser';
    END IF;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO nightly_loader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO nightly_loader;

ALTER DEFAULT PRIVILEGES FOR ROLE nightly_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO nightly_loader;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM nightly_reader;
GRANT USAGE ON SCHEMA published TO nightly_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA published TO nightly_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE nightly_owner IN SCHEMA published GRANT SELECT ON TABLES TO nightly_reader;
