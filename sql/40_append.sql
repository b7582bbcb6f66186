/*
 * append: the fenced log grows, for many responses in one call.
 *
 *   status     unchanged (in_progress)
 *   called by  writer, once per flush
 *   locks      responses rows in response_id order, and waits for them
 *   notifies   nobody: the writer wakes tails after commit (85_wake.sql)
 *   raises     22023 invalid_parameter_value where counts and lines differ; else an
 *              answer per response
 */

/*
 * The row lock is the fence and the only serialization: its holder owns the next
 * numbers until commit, so nobody can see seq 8 before seq 7. Always in one order,
 * so that two batches cannot wait for each other.
 */
create or replace function pgdurable._lock_responses(p_response_ids text[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  perform
  from pgdurable.responses as r
  where r.response_id = any(p_response_ids)
  order by r.response_id
  for no key update;
end;
$$;

/* The line at which the events of each response begin. Lines that are too few would leave a gap in a log. */
create or replace function pgdurable._first_lines(p_counts integer[], p_lines text)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
  v_firsts bigint[];
  v_sum    bigint;
begin
  select array_agg(c.sum + 1 - c.count order by c.n), coalesce(max(c.sum), 0)
  into v_firsts, v_sum
  from (
    select w.count, w.n, sum(w.count) over (order by w.n) as sum
    from unnest(p_counts) with ordinality as w (count, n)
  ) as c;

  if v_sum <> cardinality(string_to_array(p_lines, E'\n')) then
    perform pgdurable._refuse(
      '22023',
      'p_counts adds up to ' || v_sum || ' events, but there is not one line for each.',
      'p_types, p_item_ids and p_bodies hold one line per event; a body is JSON without raw newlines.'
    );
  end if;

  return v_firsts;
end;
$$;

/*
 * The first four arrays run in parallel, one entry per response. p_types,
 * p_item_ids (empty: none) and p_bodies are newline-joined, one line per event,
 * in the order of the responses; p_counts says how many lines each response has.
 * A response with count 0 is only locked, which is how a flush that also finishes
 * responses takes all its row locks in one order.
 *
 * p_last_seqs is what the caller believes each last_seq to be. If it is that, the
 * events are appended. If it is already the sum, an earlier call with an unknown
 * end did it, and the answer is the same. Anything else, another attempt or a
 * response that is no longer in progress, is answered lost and changes nothing.
 *
 * One cached plan serves batches of every size: nested loops, which are best for
 * one response, would compare every line with every response of a large batch.
 */
create or replace function pgdurable.append_events(
  p_response_ids text[],
  p_attempts     integer[],
  p_last_seqs    bigint[],
  p_counts       integer[],
  p_types        text,
  p_item_ids     text,
  p_bodies       text,
  p_lease        interval
)
returns setof pgdurable.write_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set enable_nestloop = off
as $$
declare
  v_now    timestamptz;
  v_starts bigint[] := pgdurable._first_lines(p_counts, p_types);
begin
  perform pgdurable._lock_responses(p_response_ids);
  v_now := pgdurable.now();

  return query
  with wanted as materialized (
    select w.*
    from unnest(p_response_ids, p_attempts, p_last_seqs, p_counts, v_starts) with ordinality
      as w (response_id, attempt, last_seq, count, start, n)
  ),
  appended as (
    update pgdurable.responses as r
    set
      last_seq = r.last_seq + w.count,
      lease_expires_at = v_now + p_lease
    from wanted as w
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
      and r.last_seq = w.last_seq
      and w.count > 0
    returning r.response_id, r.attempt, w.last_seq, w.start, w.n
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, item_id, body, created_at)
    select
      a.response_id, a.last_seq + 1 + l.n - a.start, a.attempt, l.type, nullif(l.item_id, ''),
      l.body::json, v_now
    from rows from (
      string_to_table(p_types, E'\n'), string_to_table(p_item_ids, E'\n'), string_to_table(p_bodies, E'\n')
    ) with ordinality as l (type, item_id, body, n)
    join appended as a on a.n = width_bucket(l.n, v_starts)
  )
  select
    w.response_id,
    case
      when r.response_id is null then 'lost'
      when r.cancel_requested_at is not null then 'cancel'
      else 'ok'
    end,
    w.last_seq + w.count
  from wanted as w
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.status = 'in_progress'
    and r.last_seq in (w.last_seq, w.last_seq + w.count)
  order by w.n;
end;
$$;

comment on function pgdurable.append_events is
  'Append events to the logs of many responses, each fenced by its attempt; answers ok, cancel or lost.';
