/*
 * release: a worker that stops gives a response back unfinished.
 *
 *   status     in_progress -> queued, or cancelled if that was asked
 *   called by  worker while it drains
 *   locks      responses rows in response_id order, and waits for them
 *   notifies   pgdurable_tail, for those it has cancelled
 *   raises     nothing; an answer per response
 */

/*
 * A clean stop costs nothing: queued again at once, failed_attempts untouched.
 * attempt stays, and grows at the next claim, so the old owner stays fenced off.
 */
create or replace function pgdurable.release_responses(p_response_ids text[], p_attempts integer[])
returns setof pgdurable.write_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz;
begin
  perform pgdurable._lock_responses(p_response_ids);
  v_now := pgdurable.now();

  return query
  with wanted as materialized (
    select w.*
    from unnest(p_response_ids, p_attempts) with ordinality as w (response_id, attempt, n)
  ),
  released as (
    update pgdurable.responses as r
    set
      status = 'queued',
      worker_id = null,
      lease_expires_at = null,
      available_at = v_now
    from wanted as w
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
    returning r.response_id, r.attempt, r.last_seq
  ),
  ended as (
    update pgdurable.attempts as a
    set ended_at = greatest(v_now, a.started_at), outcome = 'released', company = null
    from released as r
    where a.response_id = r.response_id
      and a.attempt = r.attempt
  )
  select w.response_id, case when r.response_id is null then 'lost' else 'ok' end, r.last_seq
  from wanted as w
  left join released as r on r.response_id = w.response_id
  order by w.n;

  perform pgdurable._end_cancelled(p_response_ids, v_now);
end;
$$;

comment on function pgdurable.release_responses is
  'Give responses back unfinished, for another worker to claim at once; answers ok or lost.';

/*
 * A cancel that the owner had not heard of when it gave the response back: no new
 * attempt for that. Queued is worded as neither owned nor finished, so that no plan
 * can mistake the index of all that is claimable for the way to these ids.
 */
create or replace function pgdurable._end_cancelled(p_response_ids text[], p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_ids text[] := array(
    select r.response_id
    from pgdurable.responses as r
    where r.response_id = any(p_response_ids)
      and r.worker_id is null
      and r.finished_at is null
      and r.cancel_requested_at is not null
  );
begin
  perform pgdurable._end_without_handler(i.id, 'cancelled', p_now)
  from unnest(v_ids) as i (id);

  if v_ids <> '{}' then
    perform pgdurable.wake('pgdurable_tail', v_ids);
  end if;
end;
$$;
