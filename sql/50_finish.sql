/*
 * finish: an attempt ends its response, or hands it back.
 *
 *   status     in_progress -> completed, failed, cancelled, incomplete (finish_responses);
 *              in_progress -> queued (release_responses), or cancelled if that was asked
 *   called by  writer; worker while it drains
 *   locks      responses rows in response_id order, and waits for them
 *   notifies   nobody: the writer wakes tails after commit;
 *              release_responses: pgdurable_tail, for those it has cancelled
 *   raises     nothing; an answer per response
 */

/*
 * The status and the terminal event commit together, so a tail ends by reading.
 * Arrays run in parallel; p_types and p_bodies are newline-joined, one line per
 * response. p_last_seqs is the seq before the terminal event, as in append_events;
 * a repeated call is answered ok.
 */
create or replace function pgdurable.finish_responses(
  p_response_ids text[],
  p_attempts     integer[],
  p_last_seqs    bigint[],
  p_statuses     text[],
  p_types        text,
  p_bodies       text
)
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
    select w.*, l.type, l.body
    from unnest(p_response_ids, p_attempts, p_last_seqs, p_statuses) with ordinality
      as w (response_id, attempt, last_seq, status, n)
    left join rows from (string_to_table(p_types, E'\n'), string_to_table(p_bodies, E'\n')) with ordinality
      as l (type, body, n) on l.n = w.n
  ),
  finished as (
    update pgdurable.responses as r
    set
      status = w.status,
      last_seq = r.last_seq + 1,
      worker_id = null,
      lease_expires_at = null,
      finished_at = v_now
    from wanted as w
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
      and r.last_seq = w.last_seq
    returning r.response_id, r.attempt, r.last_seq, r.status, w.type, w.body
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select f.response_id, f.last_seq, f.attempt, f.type, f.body::json, v_now
    from finished as f
  ),
  ended as (
    update pgdurable.attempts as a
    set ended_at = v_now, outcome = f.status
    from finished as f
    where a.response_id = any(p_response_ids)
      and a.response_id = f.response_id
      and a.attempt = f.attempt
  )
  select
    w.response_id,
    case
      when f.response_id is not null then 'ok'
      when pgdurable._outcome(r.response_id, r.attempt) = w.status then 'ok'
      else 'lost'
    end,
    w.last_seq + 1
  from wanted as w
  left join finished as f on f.response_id = w.response_id
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.last_seq = w.last_seq + 1
  order by w.n;
end;
$$;

comment on function pgdurable.finish_responses is
  'End many responses, each with its terminal event and fenced by its attempt; answers ok or lost.';

/*
 * How an attempt ended: what tells a repeated finish from an end of the same status
 * that somebody else wrote, with other bytes. A takeover leaves the outcome lost.
 */
create or replace function pgdurable._outcome(p_response_id text, p_attempt integer)
returns text
language sql
stable
as $$
  select a.outcome
  from pgdurable.attempts as a
  where a.response_id = p_response_id
    and a.attempt = p_attempt;
$$;

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
    set ended_at = v_now, outcome = 'released'
    from released as r
    where a.response_id = any(p_response_ids)
      and a.response_id = r.response_id
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
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
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
