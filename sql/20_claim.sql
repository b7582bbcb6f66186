/*
 * claim: queued -> in_progress, for a worker with free slots.
 *
 *   status     queued -> in_progress
 *   called by  worker
 *   locks      responses rows (skip locked: never waits), then what _begin_attempts locks
 *   notifies   nobody: the caller wakes tails after commit
 *   raises     nothing; it returns fewer rows
 */

/*
 * Of one agent the highest priority first, then the oldest; agents in the order in which they
 * are named. One index scan per queue and agent; a row that another worker is claiming is
 * skipped, and a row is evaluated once (materialized), so no worker can get more than p_limit.
 * Of the agents, those in p_restarting start over after a crash, unseen by readers; those in
 * p_keeping go on, on the same conversation; all others go on on a rotated one.
 */
create or replace function pgdurable.claim_responses(
  p_worker_id  text,
  p_queues     text[],
  p_limit      integer,
  p_lease      interval,
  p_agents     text[] default '{}',
  p_restarting text[] default '{}',
  p_keeping    text[] default '{}'
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now       timestamptz := pgdurable.now();
  v_ids       text[];
  v_restarted text[];
begin
  with due as materialized (
    select d.response_id
    from unnest(p_queues) as q (queue)
    cross join unnest(pgdurable._claimable_agents(p_agents)) as g (agent)
    cross join lateral (
      select r.response_id
      from pgdurable.responses as r
      where r.queue = q.queue
        and r.agent = g.agent
        and r.status = 'queued'
        and r.available_at <= v_now
        and (r.deadline_at is null or r.deadline_at > v_now)
      order by r.priority desc, r.available_at, r.response_id
      limit p_limit
      for no key update skip locked
    ) as d
    limit p_limit
  )
  select array_agg(d.response_id)
  into v_ids
  from due as d;

  if v_ids is not null then
    v_restarted := pgdurable._begin_attempts(v_ids, p_worker_id, p_lease, 'claim', p_restarting, p_keeping);

    return query
    select o.*
    from pgdurable._open_attempts(v_ids, v_restarted, v_now) as o;
  end if;
end;
$$;

comment on function pgdurable.claim_responses is
  'Take the lease on up to p_limit queued responses of these queues and agents.';

/* A worker with agents may also claim what names none; a worker without agents may claim nothing. */
create or replace function pgdurable._claimable_agents(p_agents text[])
returns text[]
language sql
immutable
set search_path = ''
as $$
  select case when p_agents <> '{}' then array_append(p_agents, '') else '{}' end;
$$;
