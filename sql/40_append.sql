/*
 * append: the fenced log grows; by one event, or for many responses in one call.
 *
 *   status     unchanged (in_progress)
 *   called by  people (append_event); writer, once per flush (append_events)
 *   locks      responses rows in response_id order, and waits for them
 *   notifies   append_event: pgdurable_tail; append_events: nobody, the writer wakes tails after
 *              commit (85_wake.sql)
 *   raises     PD002 lease_lost (append_event), 22023 invalid_parameter_value where counts and
 *              lines differ (append_events); else an answer per response
 */

/*
 * The fence, for one event: the update finds the row only while this attempt holds it, and
 * then locks it until commit, so nobody else can take the next number. Answers the seq. It
 * does not renew the lease. A JSON text holds a raw newline only between its tokens; a line of
 * the log holds none.
 */
create or replace function pgdurable.append_event(
  p_response_id text,
  p_attempt     integer,
  p_type        text,
  p_body        json
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  v_seq     bigint;
  v_item_id text := case when p_type = 'response.output_item.done' then p_body #>> '{item,id}' end;
begin
  update pgdurable.responses as r
  set last_seq = r.last_seq + 1
  where r.response_id = p_response_id
    and r.attempt = p_attempt
    and r.status = 'in_progress'
  returning r.last_seq into v_seq;

  if not found then
    perform pgdurable._refuse_lost(p_response_id, p_attempt);
  end if;

  insert into pgdurable.events (response_id, seq, attempt, type, item_id, body, created_at)
  values (
    p_response_id, v_seq, p_attempt, p_type, v_item_id, translate(p_body::text, E'\n\r', '  ')::json,
    pgdurable.now()
  );

  perform pgdurable.wake('pgdurable_tail', array[p_response_id]);
  return v_seq;
end;
$$;

comment on function pgdurable.append_event is
  'Append one event by hand, fenced by its attempt; answers its seq.';

/*
 * The same for a batch. The first four arrays run in parallel, one entry per response.
 * p_types, p_item_ids (empty: none) and p_bodies are newline-joined, one line per event,
 * in the order of the responses; p_counts says how many lines each response has.
 * A response with count 0 is only locked, which is how a flush that also finishes
 * responses takes all its row locks in one order.
 *
 * p_last_seqs is what the caller believes each last_seq to be. If it is that, the
 * events are appended. If it is already the sum, an earlier call with an unknown
 * end did it, and the answer is the same. Anything else, another attempt or a
 * response that is no longer in progress, is answered lost and changes nothing.
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
  v_starts bigint[] := pgdurable._first_lines(p_counts, p_types);
begin
  perform pgdurable._lock_responses(p_response_ids);
  perform pgdurable._write_events(
    p_response_ids, p_attempts, p_last_seqs, p_counts, v_starts, p_types, p_item_ids, p_bodies,
    pgdurable.now(), p_lease
  );

  -- The rows are locked: where a log ends now is where this call, or an earlier one like it, ended it.
  return query
  select
    w.response_id,
    case
      when r.response_id is null then 'lost'
      when r.cancel_requested_at is not null then 'cancel'
      else 'ok'
    end,
    w.last_seq + w.count
  from unnest(p_response_ids, p_attempts, p_last_seqs, p_counts) with ordinality
    as w (response_id, attempt, last_seq, count, n)
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.status = 'in_progress'
    and r.last_seq = w.last_seq + w.count
  order by w.n;
end;
$$;

comment on function pgdurable.append_events is
  'Append events to the logs of many responses, each fenced by its attempt; answers ok, cancel or lost.';

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
 * Of the locked rows, those that are where the caller believes them to be get their events.
 * One cached plan serves batches of every size: nested loops, which are best for one
 * response, would compare every line with every response of a large batch.
 */
create or replace function pgdurable._write_events(
  p_response_ids text[],
  p_attempts     integer[],
  p_last_seqs    bigint[],
  p_counts       integer[],
  p_starts       bigint[],
  p_types        text,
  p_item_ids     text,
  p_bodies       text,
  p_now          timestamptz,
  p_lease        interval
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  with appended as (
    update pgdurable.responses as r
    set
      last_seq = r.last_seq + w.count,
      lease_expires_at = p_now + p_lease
    from unnest(p_response_ids, p_attempts, p_last_seqs, p_counts, p_starts) with ordinality
      as w (response_id, attempt, last_seq, count, start, n)
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
      and r.last_seq = w.last_seq
      and w.count > 0
    returning r.response_id, r.attempt, w.last_seq, w.start, w.n
  )
  insert into pgdurable.events (response_id, seq, attempt, type, item_id, body, created_at)
  select
    a.response_id, a.last_seq + 1 + l.n - a.start, a.attempt, l.type, nullif(l.item_id, ''),
    l.body::json, p_now
  from rows from (
    string_to_table(p_types, E'\n'), string_to_table(p_item_ids, E'\n'), string_to_table(p_bodies, E'\n')
  ) with ordinality as l (type, item_id, body, n)
  join appended as a on a.n = width_bucket(l.n, p_starts);
end;
$$;
