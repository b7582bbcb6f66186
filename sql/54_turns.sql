/*
 * turns: of what a gone worker has left, what ends, and what may run now. One bad request must
 * not fail its neighbours: each further death at least halves its company, until it dies alone.
 *
 *   status     in_progress -> cancelled or failed (_end_exhausted); else unchanged
 *   called by  take_over_responses, which holds the responses rows
 *   locks      responses rows (skip locked: never waits; _fail_overdue)
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * Cancelled where that was asked, failed where the budget or the time is spent. Answers those.
 * The last rule ends what no other one foresaw.
 */
create or replace function pgdurable._end_exhausted(p_response_ids text[], p_now timestamptz)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_ids   text[];
  v_codes text[];
begin
  select coalesce(array_agg(e.response_id), '{}'), array_agg(e.code)
  into v_ids, v_codes
  from (
    select
      r.response_id,
      case
        when r.cancel_requested_at is not null then 'cancelled'
        when r.deadline_at <= p_now then 'deadline_exceeded'
        when r.failed_attempts >= r.max_attempts then 'max_attempts'
        when t.losses >= 30 then 'too_many_attempts'
      end as code
    from pgdurable.responses as r
    cross join lateral pgdurable._losses(r.response_id, r.attempt) as t
    where r.response_id = any(p_response_ids)
  ) as e
  where e.code is not null;

  perform pgdurable._end_without_handler(w.id, w.code, p_now)
  from unnest(v_ids, v_codes) as w (id, code);

  return v_ids;
end;
$$;

/*
 * Which of these a worker that runs p_running responses may take: of its agents, first those
 * under no suspicion, which wait for nothing; then suspects, the narrowest company and the youngest
 * before the others, as long as the worker then runs no more than the strictest of them allows.
 * A suspect that has waited for ten leases is taken anyway.
 */
create or replace function pgdurable._in_their_turn(
  p_response_ids text[],
  p_limit        integer,
  p_running      integer,
  p_agents       text[],
  p_lease        interval,
  p_now          timestamptz
)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_taken text[] := array[]::text[];
  v_cap   integer := 2147483647;
  v_next  record;
begin
  for v_next in
    select r.response_id, coalesce(s.cap, v_cap) as cap, s.ended_at < p_now - p_lease * 10 as has_waited
    from pgdurable.responses as r
    left join lateral pgdurable._suspicion(r.response_id, r.attempt) as s on true
    where r.response_id = any(p_response_ids)
      and r.agent = any(pgdurable._claimable_agents(p_agents))
    order by s.cap nulls first, s.started_at desc, r.response_id
  loop
    exit when cardinality(v_taken) >= p_limit;

    if v_next.has_waited or p_running + cardinality(v_taken) < least(v_cap, v_next.cap) then
      v_taken := v_taken || v_next.response_id;
      v_cap := least(v_cap, v_next.cap);
    end if;
  end loop;

  return v_taken;
end;
$$;

/*
 * What three losses in a row have met is a suspect: its worker may run half of the company that
 * it had, itself included. No row for all others: two may be chance, and nobody should wait.
 */
create or replace function pgdurable._suspicion(p_response_id text, p_attempt integer)
returns table (cap integer, lived interval, started_at timestamptz, ended_at timestamptz)
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  select greatest(1, (a.company + 1) / 2), a.ended_at - a.started_at, a.started_at, a.ended_at
  from pgdurable.attempts as a
  join pgdurable.attempts as b on b.response_id = a.response_id and b.attempt = a.attempt - 1
  join pgdurable.attempts as c on c.response_id = a.response_id and c.attempt = a.attempt - 2
  where a.response_id = p_response_id
    and a.attempt = p_attempt
    and a.company is not null
    and b.company is not null
    and c.company is not null;
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
