/*
 * takeover: a silent worker's response goes to another one, or ends.
 *
 *   status     in_progress with an expired lease -> in_progress, attempt + 1;
 *              -> cancelled if that was asked; -> failed past max_attempts or the deadline;
 *              queued past its deadline -> failed
 *   called by  worker, about once a second
 *   locks      responses rows (skip locked: never waits), then what _begin_attempts locks
 *   notifies   pgdurable_tail, for those it has ended; of the others the caller wakes tails after commit
 *   raises     nothing; it returns fewer rows
 */

/*
 * All of it is one transaction: attempt, rotation, alias and event stand or fall together.
 * Those that end are no answer to a worker, who has nothing to do for them: their readers
 * are told.
 */
create or replace function pgdurable.take_over_responses(
  p_worker_id text,
  p_queues    text[],
  p_limit     integer,
  p_lease     interval
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now     timestamptz := pgdurable.now();
  v_expired text[];
  v_ended   text[];
begin
  v_expired := pgdurable._lock_expired(p_queues, p_limit, v_now);
  v_ended := pgdurable._fail_overdue(p_queues, p_limit, v_now);

  if v_expired <> '{}' then
    update pgdurable.attempts as a
    set ended_at = greatest(v_now, a.started_at), outcome = 'lost'
    from pgdurable.responses as r
    where r.response_id = any(v_expired)
      and a.response_id = r.response_id
      and a.attempt = r.attempt
      and a.outcome is null;

    update pgdurable.responses as r
    set failed_attempts = r.failed_attempts + 1
    where r.response_id = any(v_expired);

    v_ended := v_ended || pgdurable._end_exhausted(v_expired, v_now);

    return query
    select b.*
    from pgdurable._begin_attempts(
      array(select i.id from unnest(v_expired) as i (id) where i.id <> all(v_ended)),
      p_worker_id, p_lease, 'takeover'
    ) as b;
  end if;

  if v_ended <> '{}' then
    perform pgdurable.wake('pgdurable_tail', v_ended);
  end if;
end;
$$;

comment on function pgdurable.take_over_responses is
  'Take over up to p_limit responses whose lease has expired; end those past their budget.';

create or replace function pgdurable._lock_expired(p_queues text[], p_limit integer, p_now timestamptz)
returns text[]
language sql
set search_path = ''
as $$
  with expired as materialized (
    select r.response_id
    from pgdurable.responses as r
    where r.status = 'in_progress'
      and r.queue = any(p_queues)
      and r.lease_expires_at < p_now
    order by r.lease_expires_at
    limit p_limit
    for no key update skip locked
  )
  select coalesce(array_agg(e.response_id), '{}')
  from expired as e;
$$;

/* Of the expired ones: cancelled where that was asked, failed where the budget or the time is spent. Answers those. */
create or replace function pgdurable._end_exhausted(p_response_ids text[], p_now timestamptz)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_ids   text[];
  v_codes text[];
begin
  select
    coalesce(array_agg(r.response_id), '{}'),
    array_agg(case
      when r.cancel_requested_at is not null then 'cancelled'
      when r.deadline_at <= p_now then 'deadline_exceeded'
      else 'max_attempts'
    end)
  into v_ids, v_codes
  from pgdurable.responses as r
  where r.response_id = any(p_response_ids)
    and (
      r.cancel_requested_at is not null
      or r.deadline_at <= p_now
      or r.failed_attempts >= r.max_attempts
    );

  perform pgdurable._end_without_handler(w.id, w.code, p_now)
  from unnest(v_ids, v_codes) as w (id, code);

  return v_ids;
end;
$$;

/* Queued is worded as in responses_deadline_idx, so that no plan walks through the whole queue instead. */
create or replace function pgdurable._fail_overdue(p_queues text[], p_limit integer, p_now timestamptz)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_ids text[];
begin
  with overdue as materialized (
    select r.response_id
    from pgdurable.responses as r
    where r.deadline_at <= p_now
      and r.finished_at is null
      and r.worker_id is null
      and r.queue = any(p_queues)
    order by r.deadline_at
    limit p_limit
    for no key update skip locked
  )
  select coalesce(array_agg(o.response_id), '{}')
  into v_ids
  from overdue as o;

  perform pgdurable._end_without_handler(i.id, 'deadline_exceeded', p_now)
  from unnest(v_ids) as i (id);

  return v_ids;
end;
$$;
