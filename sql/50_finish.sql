/*
 * finish: an attempt ends its response.
 *
 *   status     in_progress -> completed, failed, cancelled, incomplete
 *   called by  writer
 *   locks      responses rows in response_id order, and waits for them
 *   notifies   nobody: the writer wakes tails after commit
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
  v_finished text[];
begin
  perform pgdurable._lock_responses(p_response_ids);
  v_finished := pgdurable._write_ends(
    p_response_ids, p_attempts, p_last_seqs, p_statuses, p_types, p_bodies, pgdurable.now()
  );

  return query
  select
    w.response_id,
    case
      when w.response_id = any(v_finished) then 'ok'
      when w.status = pgdurable._outcome(w.response_id, w.attempt, w.last_seq + 1) then 'ok'
      else 'lost'
    end,
    w.last_seq + 1
  from unnest(p_response_ids, p_attempts, p_last_seqs, p_statuses) with ordinality
    as w (response_id, attempt, last_seq, status, n)
  order by w.n;
end;
$$;

comment on function pgdurable.finish_responses is
  'End many responses, each with its terminal event and fenced by its attempt; answers ok or lost.';

/*
 * How an attempt ended, with this seq as its last. That tells a repeated finish from an end of
 * the same status that another function wrote, with other bytes: a takeover leaves it lost.
 */
create or replace function pgdurable._outcome(p_response_id text, p_attempt integer, p_last_seq bigint)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select a.outcome
    from pgdurable.responses as r
    join pgdurable.attempts as a on a.response_id = r.response_id and a.attempt = r.attempt
    where r.response_id = p_response_id
      and r.attempt = p_attempt
      and r.last_seq = p_last_seq
  );
end;
$$;

/* Of the locked rows, those that are where the caller believes them to be end. Answers those. */
create or replace function pgdurable._write_ends(
  p_response_ids text[],
  p_attempts     integer[],
  p_last_seqs    bigint[],
  p_statuses     text[],
  p_types        text,
  p_bodies       text,
  p_now          timestamptz
)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_finished text[];
begin
  with wanted as materialized (
    select w.*
    from unnest(
      p_response_ids, p_attempts, p_last_seqs, p_statuses,
      string_to_array(p_types, E'\n'), string_to_array(p_bodies, E'\n')
    ) as w (response_id, attempt, last_seq, status, type, body)
  ),
  finished as (
    update pgdurable.responses as r
    set
      status = w.status,
      last_seq = r.last_seq + 1,
      worker_id = null,
      lease_expires_at = null,
      finished_at = greatest(p_now, r.started_at, r.created_at)
    from wanted as w
    where r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
      and r.last_seq = w.last_seq
    returning r.response_id, r.attempt, r.last_seq, r.status, w.type, w.body
  ),
  ended as (
    update pgdurable.attempts as a
    set ended_at = greatest(p_now, a.started_at), outcome = f.status, company = null
    from finished as f
    where a.response_id = f.response_id
      and a.attempt = f.attempt
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select f.response_id, f.last_seq, f.attempt, f.type, f.body::json, p_now
    from finished as f
  )
  select array_agg(f.response_id)
  into v_finished
  from finished as f;

  return v_finished;
end;
$$;
