/*
 * takeover: the response of a worker that has died or stands still goes to another one, or ends.
 *
 *   status     in_progress, and takeable -> in_progress, attempt + 1;
 *              -> cancelled if that was asked; -> failed past max_attempts or the deadline;
 *              queued past its deadline -> failed
 *   called by  worker, when something is due
 *   locks      responses rows (skip locked: never waits), then what _begin_attempts locks
 *   notifies   pgdurable_tail, for those it has ended; of the others the caller wakes tails after commit
 *   raises     nothing; it returns fewer rows
 */

/*
 * All of it is one transaction: attempt, rotation, alias and event stand or fall together.
 * Those that end are not answered, since a worker has nothing to do for them: their readers
 * are told. p_running is what the caller runs itself: nobody takes that from it.
 *
 * Everything that the gone worker had is marked at once, with how many others were in its
 * company; what has to wait for its turn stays in progress, its lease expired.
 */
create or replace function pgdurable.take_over_responses(
  p_worker_id   text,
  p_queues      text[],
  p_limit       integer,
  p_lease       interval,
  p_agents      text[] default '{}',
  p_restarting  text[] default '{}',
  p_keeping     text[] default '{}',
  p_running     text[] default '{}',
  p_stuck_after interval default null
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now       timestamptz := pgdurable.now();
  v_gone      text[];
  v_ended     text[];
  v_taken     text[];
  v_restarted text[];
begin
  v_gone := pgdurable._lock_gone(p_worker_id, p_queues, p_running, coalesce(p_stuck_after, p_lease), v_now);
  v_ended := pgdurable._fail_overdue(p_queues, p_limit, v_now);

  if v_gone <> '{}' then
    v_ended := v_ended || pgdurable._end_exhausted(v_gone, v_now);

    v_taken := pgdurable._in_their_turn(
      array(select i.id from unnest(v_gone) as i (id) where i.id <> all(v_ended)),
      p_limit, cardinality(p_running), p_agents, p_lease, v_now
    );
    v_restarted := pgdurable._begin_attempts(v_taken, p_worker_id, p_lease, 'takeover', p_restarting, p_keeping);

    return query
    select o.*
    from pgdurable._open_attempts(v_taken, v_restarted, v_now) as o;
  end if;

  if v_ended <> '{}' then
    perform pgdurable.wake('pgdurable_tail', v_ended);
  end if;
end;
$$;

comment on function pgdurable.take_over_responses is
  'Take over up to p_limit responses whose worker is gone; end those past their budget.';

/*
 * Lock what is due, mark it, and answer it. What was renewed since it was looked at is left
 * alone: the lock compares. Responses that share a worker died in company, also those that this caller may not take.
 */
create or replace function pgdurable._lock_gone(
  p_worker_id   text,
  p_queues      text[],
  p_running     text[],
  p_stuck_after interval,
  p_now         timestamptz
)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_ids       text[];
  v_outcomes  text[];
  v_companies bigint[];
begin
  with due as materialized (
    select t.*, count(*) over (partition by t.worker_id) - 1 as company
    from pgdurable._takeable(p_queues, p_stuck_after, p_now) as t
    where t.due_at <= p_now
      and not (t.worker_id = p_worker_id and t.response_id = any(p_running))
  ),
  locked as materialized (
    select d.*
    from due as d
    join pgdurable.responses as r
      on r.response_id = d.response_id
      and r.attempt = d.attempt
      and r.lease_expires_at = d.lease_expires_at
      and r.status = 'in_progress'
    for no key update of r skip locked
  )
  select array_agg(l.response_id), array_agg(l.outcome), array_agg(l.company)
  into v_ids, v_outcomes, v_companies
  from locked as l;

  if v_ids is null then
    return array[]::text[];
  end if;

  perform pgdurable._mark_gone(v_ids, v_outcomes, v_companies, p_now);
  return v_ids;
end;
$$;

/*
 * The attempts end, once; only a death with nobody else in progress is charged. The lease is
 * over for those that wait for their turn, too.
 */
create or replace function pgdurable._mark_gone(
  p_response_ids text[],
  p_outcomes     text[],
  p_companies    bigint[],
  p_now          timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  with ended as (
    update pgdurable.attempts as a
    set ended_at = greatest(p_now, a.started_at), outcome = w.outcome, company = w.company
    from unnest(p_response_ids, p_outcomes, p_companies) as w (response_id, outcome, company)
    join pgdurable.responses as r on r.response_id = w.response_id
    where a.response_id = w.response_id
      and a.attempt = r.attempt
      and a.outcome is null
    returning a.response_id, a.outcome = 'lost' and a.company = 0 as is_charged
  )
  update pgdurable.responses as r
  set
    failed_attempts = r.failed_attempts + case when e.is_charged then 1 else 0 end,
    lease_expires_at = least(r.lease_expires_at, p_now)
  from ended as e
  where r.response_id = e.response_id;
end;
$$;
