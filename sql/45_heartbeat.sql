/*
 * heartbeat: a worker renews all its leases in one statement.
 *
 *   status     unchanged (in_progress)
 *   called by  lease, in a thread with its own connection
 *   locks      responses rows (skip locked: a row that somebody holds is answered busy),
 *              then the workers row (skip locked)
 *   notifies   nobody
 *   raises     nothing; an answer per response
 */

/*
 * The clock is read after the rows are locked: a beat that waited must not store
 * a time that has passed. One row held by a person's open transaction must not
 * cost the others their leases, so nothing here waits; appends renew leases too.
 */
create or replace function pgdurable.heartbeat(
  p_worker_id    text,
  p_response_ids text[],
  p_attempts     integer[],
  p_lease        interval
)
returns setof pgdurable.lease_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now    timestamptz;
  v_locked text[];
begin
  with locked as materialized (
    select r.response_id
    from pgdurable.responses as r
    join unnest(p_response_ids, p_attempts) as w (response_id, attempt)
      on w.response_id = r.response_id and w.attempt = r.attempt
    where r.response_id = any(p_response_ids)
      and r.status = 'in_progress'
    for no key update of r skip locked
  )
  select coalesce(array_agg(l.response_id), '{}')
  into v_locked
  from locked as l;

  v_now := pgdurable.now();

  update pgdurable.responses as r
  set lease_expires_at = v_now + p_lease
  where r.response_id = any(v_locked);

  perform pgdurable._see_worker(p_worker_id, v_now);

  return query
  select
    w.response_id,
    w.attempt,
    case
      when r.response_id is null then 'lost'
      when r.cancel_requested_at is not null then 'cancel'
      when r.response_id = any(v_locked) then 'ok'
      else 'busy'
    end
  from unnest(p_response_ids, p_attempts) as w (response_id, attempt)
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.status = 'in_progress';
end;
$$;

comment on function pgdurable.heartbeat is
  'Renew the leases of a worker''s attempts; answers ok, cancel, lost or busy for each.';

/* A row that somebody holds is not worth a wait: the next beat comes soon. */
create or replace function pgdurable._see_worker(p_worker_id text, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pgdurable.workers as w
  set last_seen_at = p_now
  where w.worker_id in (
    select free.worker_id
    from pgdurable.workers as free
    where free.worker_id = p_worker_id
    for no key update skip locked
  );
end;
$$;

create or replace function pgdurable.register_worker(
  p_worker_id   text,
  p_host        text,
  p_pid         integer,
  p_queues      text[],
  p_concurrency integer,
  p_version     text,
  p_agents      text[] default '{}'
)
returns void
language sql
set search_path = ''
as $$
  insert into pgdurable.workers as w (
    worker_id, host, pid, queues, concurrency, version, agents, started_at, last_seen_at
  )
  values (
    p_worker_id, p_host, p_pid, p_queues, p_concurrency, p_version, p_agents, pgdurable.now(), pgdurable.now()
  )
  on conflict (worker_id) do update
  set last_seen_at = excluded.last_seen_at;
$$;

comment on function pgdurable.register_worker is
  'Tell people that a worker process has started.';

create or replace function pgdurable.unregister_worker(p_worker_id text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pgdurable.workers as w
  set stopped_at = pgdurable.now()
  where w.worker_id = p_worker_id;

  delete from pgdurable.presences as p
  where p.worker_id = p_worker_id;
end;
$$;

comment on function pgdurable.unregister_worker is
  'Tell people that a worker process has stopped.';
