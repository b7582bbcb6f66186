/*
 * takeable: which responses in progress are up for takeover, since when, and why.
 *
 *   status     unchanged
 *   called by  worker, about once a second (takeover_due); take_over_responses
 *   locks      presences rows, for a moment (takeover_due)
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * due_at may lie a little ahead. Of a worker
 * - with a presence, whose lock is free: lost, a moment after that was noticed, unless one of its
 *   leases has been renewed since: then its process lives, and only its connection had died;
 * - with a presence, whose lock is held: stalled, once a lease has run out for as long as it may;
 * - without: lost, once all its leases have run out; a lease that runs out alone has stalled.
 * What an earlier takeover has left for its turn keeps the outcome that it got then.
 */
create or replace function pgdurable._takeable(p_queues text[], p_stuck_after interval, p_now timestamptz)
returns table (
  response_id text, worker_id text, attempt integer, lease_expires_at timestamptz, outcome text, due_at timestamptz
)
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  with running as materialized (
    select r.response_id, r.worker_id, r.attempt, r.lease_expires_at, r.queue
    from pgdurable.responses as r
    where r.status = 'in_progress'
  ),
  owners as materialized (
    select
      w.worker_id,
      w.last_lease,
      p.lease,
      case
        when w.last_lease <= p.absent_since + p.lease and coalesce(k.last_seen_at <= p.absent_since, true)
        then p.absent_since + interval '250 ms'
      end as gone_at
    from (
      select r.worker_id, max(r.lease_expires_at) as last_lease
      from running as r
      group by r.worker_id
    ) as w
    left join pgdurable.presences as p
      on p.worker_id = w.worker_id and p.server_started_at = pg_catalog.pg_postmaster_start_time()
    left join pgdurable.workers as k on k.worker_id = w.worker_id
  )
  select
    r.response_id, r.worker_id, r.attempt, r.lease_expires_at,
    coalesce(
      t.outcome,
      case when o.gone_at is not null or o.lease is null and o.last_lease <= p_now then 'lost' else 'stalled' end
    ),
    case
      when t.outcome is not null then r.lease_expires_at
      when o.gone_at is not null then o.gone_at
      when o.lease is null and o.last_lease <= p_now then o.last_lease
      else r.lease_expires_at - coalesce(o.lease, p_stuck_after) + p_stuck_after * (2 ^ least(t.stalls, 10))
    end
  from running as r
  join owners as o on o.worker_id = r.worker_id
  cross join lateral pgdurable._losses(r.response_id, r.attempt) as t
  where r.queue = any(p_queues)
    and (r.lease_expires_at <= p_now or o.gone_at is not null);
end;
$$;

/* How this attempt was lost, if a takeover has found that already, and how often the response has stalled. */
create or replace function pgdurable._losses(p_response_id text, p_attempt integer)
returns table (outcome text, stalls bigint, losses bigint)
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  select
    max(a.outcome) filter (where a.attempt = p_attempt),
    count(*) filter (where a.outcome = 'stalled' and a.attempt < p_attempt),
    count(*) filter (where a.outcome in ('lost', 'stalled'))
  from pgdurable.attempts as a
  where a.response_id = p_response_id;
end;
$$;

/*
 * What an idle worker asks: how long until it should take over; null where nothing is to come
 * within a second, zero or less where something is due. It also notes which locks are free.
 */
create or replace function pgdurable.takeover_due(
  p_worker_id   text,
  p_queues      text[],
  p_agents      text[],
  p_running     text[],
  p_stuck_after interval
)
returns interval
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := pgdurable.now();
  v_due timestamptz;
begin
  perform pgdurable._watch_presences(v_now);

  select min(t.due_at)
  into v_due
  from pgdurable._takeable(p_queues, p_stuck_after, v_now) as t
  join pgdurable.responses as r on r.response_id = t.response_id
  where t.due_at <= v_now + interval '1 s'
    and not (t.worker_id = p_worker_id and t.response_id = any(p_running))
    and (
      r.agent = any(pgdurable._claimable_agents(p_agents))
      or r.cancel_requested_at is not null
      or r.deadline_at <= v_now
    );

  if exists (
    select
    from pgdurable.responses as r
    where r.deadline_at <= v_now
      and r.finished_at is null
      and r.worker_id is null
      and r.queue = any(p_queues)
  ) then
    v_due := v_now;
  end if;

  return v_due - v_now;
end;
$$;

comment on function pgdurable.takeover_due is
  'How long until this worker should call take_over_responses; null: look again in a second.';
