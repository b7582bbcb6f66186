/*
 * roles: the only grants. Nothing is open to PUBLIC; two roles are served where a
 * DBA has created them (create role pgdurable_runtime; create role pgdurable_reader).
 * An unchanged schema is not applied again: after creating a role, run
 * `pgdurable migrate --reapply`, which grants it what it needs.
 *
 *   status     none
 *   called by  schema.migrate
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */
revoke all on schema pgdurable from public;
revoke all on all tables in schema pgdurable from public;
revoke execute on all functions in schema pgdurable from public;

do $$
begin
  if exists (select from pg_catalog.pg_roles as r where r.rolname = 'pgdurable_runtime') then
    grant usage on schema pgdurable to pgdurable_runtime;
    grant execute on all functions in schema pgdurable to pgdurable_runtime;
    grant select, insert, update, delete on all tables in schema pgdurable to pgdurable_runtime;
    revoke insert, update, delete on pgdurable.schema_files, pgdurable.schema_migrations from pgdurable_runtime;
  end if;

  if exists (select from pg_catalog.pg_roles as r where r.rolname = 'pgdurable_reader') then
    grant usage on schema pgdurable to pgdurable_reader;
    grant execute on function pgdurable.now() to pgdurable_reader;
    grant select on
      pgdurable.response_overview,
      pgdurable.queue_depth,
      pgdurable.expired_leases,
      pgdurable.worker_activity,
      pgdurable.conversation_overview
    to pgdurable_reader;
  end if;
end;
$$;
