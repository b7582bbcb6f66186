/*
 * end: a response ends with no handler at hand: past its budget, past its
 * deadline, cancelled while nobody holds it, or not to be stored.
 *
 *   status     queued or in_progress -> failed or cancelled
 *   called by  take_over_responses, cancel_response, release_responses, fail_response, which hold
 *              the responses row
 *   locks      nothing more
 *   notifies   nobody: the callers see to it
 *   raises     nothing
 */

/*
 * p_code is cancelled, max_attempts, deadline_exceeded or storage_refused. Open
 * items are closed first, then a failure writes its flat error event, and the
 * terminal event commits together with the status.
 */
create or replace function pgdurable._end_without_handler(p_response_id text, p_code text, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_status  text := case when p_code = 'cancelled' then 'cancelled' else 'failed' end;
  v_type    text := (select t.type from pgdurable._terminal_types() as t where t.status = v_status);
  v_message text := pgdurable._ending_message(p_code);
  v_seq     bigint;
begin
  v_seq := pgdurable._close_open_items(p_response_id, p_now);

  if v_status = 'failed' then
    v_seq := v_seq + 1;
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select
      p_response_id, v_seq, r.attempt, 'error',
      pgdurable._error_event(p_code, v_message), p_now
    from pgdurable.responses as r
    where r.response_id = p_response_id;
  end if;

  v_seq := v_seq + 1;
  insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
  select
    p_response_id, v_seq, r.attempt, v_type,
    pgdurable._lifecycle_event(
      v_type, p_response_id, r.created_at, v_status, r.attempt, q.fields,
      case when v_status = 'failed' then
        json_build_object('code', p_code, 'message', v_message, 'type', 'server_error')
      end,
      case when v_status = 'cancelled' then '{"reason":"cancelled"}'::json end,
      pgdurable._closed_items(p_response_id),
      r.background
    ),
    p_now
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  where r.response_id = p_response_id;

  update pgdurable.responses as r
  set
    status = v_status,
    last_seq = v_seq,
    worker_id = null,
    lease_expires_at = null,
    finished_at = greatest(p_now, r.started_at, r.created_at)
  where r.response_id = p_response_id;
end;
$$;

create or replace function pgdurable._ending_message(p_code text)
returns text
language sql
stable
set search_path = ''
as $$
  select case p_code
    when 'max_attempts' then 'Every allowed attempt ended without a result: its worker died.'
    when 'too_many_attempts' then 'The workers of far too many attempts have died or stood still.'
    when 'deadline_exceeded' then 'The response was not finished before its deadline.'
    when 'storage_refused' then 'The database refused to store what the agent answered.'
  end;
$$;

/* The published, flat form: SDKs yield it instead of raising, so response.failed is still seen. */
create or replace function pgdurable._error_event(p_code text, p_message text)
returns json
language sql
stable
set search_path = ''
as $$
  select (
    '{"type":"error","code":' || to_json(p_code)::text
    || ',"message":' || to_json(p_message)::text
    || ',"param":null}'
  )::json;
$$;

/* The item in an output_item event, null where Postgres cannot parse it. */
create or replace function pgdurable._item_of(p_body json)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
  return p_body -> 'item';
exception
  when data_exception or program_limit_exceeded then
    return null;
end;
$$;

/* The items that this attempt closed, as a JSON array on one line, in the order in which they were opened. */
create or replace function pgdurable._closed_items(p_response_id text)
returns json
language sql
stable
set search_path = ''
as $$
  select ('[' || coalesce(string_agg(
    pgdurable._item_of(e.body)::text, ',' order by substring(e.body::text, '"output_index":([0-9]{1,9})')::integer, e.seq
  ), '') || ']')::json
  from pgdurable.events as e
  where e.response_id = p_response_id
    and e.seq > pgdurable._last_marker(p_response_id)
    and e.type = 'response.output_item.done';
$$;
