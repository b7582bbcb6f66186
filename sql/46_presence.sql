/*
 * presence: a worker process holds a lock for as long as it lives. The kernel closes the socket
 * of one that dies, Postgres frees its lock, and its death shows without waiting for a lease.
 *
 *   status     unchanged
 *   called by  listener, on the connection that it listens on (hold_presence); takeover_due
 *   locks      the worker's advisory lock, for the session: never waits; its presences row
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * Unlogged: a crash or a failover of Postgres empties it, as it frees all locks, and then nobody
 * can be taken for dead; a restart is told by server_started_at. A row is a process, which
 * serves every principal, so that it belongs to none.
 */
create unlogged table if not exists pgdurable.presences (
  worker_id         text collate "C" not null,
  lease             interval not null,
  server_started_at timestamptz not null,
  absent_since      timestamptz,
  constraint presences_pkey primary key (worker_id)
);

comment on table pgdurable.presences is
  'Workers whose death shows at once by their lock; for processes, so that a row belongs to no principal.';
comment on column pgdurable.presences.absent_since is
  'When a scan first found the lock free; null while it is held.';

/* The locks of workers: this number, and the hash of the worker id. */
create or replace function pgdurable._presence_class()
returns integer
language sql
immutable
set search_path = ''
as $$
  select 1885824117;  -- pgdu
$$;

/*
 * False where the lock cannot be had: an old session of the same worker still has it, or one
 * whose id has the same hash. The lease alone tells of its death then.
 */
create or replace function pgdurable.hold_presence(p_worker_id text, p_lease interval)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if not pg_catalog.pg_try_advisory_lock(pgdurable._presence_class(), pg_catalog.hashtext(p_worker_id)) then
    return false;
  end if;

  delete from pgdurable.presences as p
  where p.absent_since < pgdurable.now() - interval '1 hour';

  insert into pgdurable.presences as p (worker_id, lease, server_started_at)
  values (p_worker_id, p_lease, pg_catalog.pg_postmaster_start_time())
  on conflict (worker_id) do update
  set
    lease = excluded.lease,
    server_started_at = excluded.server_started_at,
    absent_since = null;

  return true;
end;
$$;

comment on function pgdurable.hold_presence is
  'Hold the lock that says that a worker lives, for as long as this session does.';

/* Look once at all locks, and note which presences have none and since when. */
create or replace function pgdurable._watch_presences(p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
  with held as materialized (
    select l.objid::bigint as hash
    from pg_catalog.pg_locks as l
    where l.locktype = 'advisory'
      and l.database = (select d.oid from pg_catalog.pg_database as d where d.datname = current_database())
      and l.classid::bigint = pgdurable._presence_class()
      and l.objsubid = 2
      and l.granted
  ),
  seen as (
    select
      p.worker_id,
      (pg_catalog.hashtext(p.worker_id)::bigint & 4294967295) in (select h.hash from held as h) as is_held
    from pgdurable.presences as p
  )
  update pgdurable.presences as p
  set absent_since = case when not s.is_held then p_now end
  from seen as s
  where s.worker_id = p.worker_id
    and s.is_held = (p.absent_since is not null);
end;
$$;
