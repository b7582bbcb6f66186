/*
 * end: a response ends with no handler at hand: past its budget, past its
 * deadline, or cancelled while nobody holds it.
 *
 *   status     queued or in_progress -> failed or cancelled
 *   called by  take_over_responses, cancel_response, release_responses, which hold the responses row
 *   locks      nothing more
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * p_code is cancelled, max_attempts or deadline_exceeded. Open items are closed
 * first, then a failure writes its flat error event, and the terminal event
 * commits together with the status.
 */
create or replace function pgdurable._end_without_handler(p_response_id text, p_code text, p_now timestamptz)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_status  text := case when p_code = 'cancelled' then 'cancelled' else 'failed' end;
  v_type    text := case when p_code = 'cancelled' then 'response.incomplete' else 'response.failed' end;
  v_message text := pgdurable._ending_message(p_code);
  v_seq     bigint;
  v_event   json;
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
  insert into pgdurable.events as e (response_id, seq, attempt, type, body, created_at)
  select
    p_response_id, v_seq, r.attempt, v_type,
    pgdurable._lifecycle_event(
      v_type, p_response_id, r.created_at, v_status, r.attempt, q.fields,
      case when v_status = 'failed' then
        json_build_object('code', p_code, 'message', v_message, 'type', 'server_error')
      end,
      case when v_status = 'cancelled' then '{"reason":"cancelled"}'::json end,
      pgdurable._closed_items(p_response_id, r.attempt)
    ),
    p_now
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  where r.response_id = p_response_id
  returning e.body into v_event;

  return query
  update pgdurable.responses as r
  set
    status = v_status,
    last_seq = v_seq,
    worker_id = null,
    lease_expires_at = null,
    finished_at = p_now
  where r.response_id = p_response_id
  returning
    r.response_id, r.attempt, r.status, r.last_seq, v_type, v_event, r.principal,
    pgdurable._epoch(r.created_at), null::text, r.conversation_id, null::json, null::json, false, r.deadline_at;
end;
$$;

create or replace function pgdurable._ending_message(p_code text)
returns text
language sql
stable
as $$
  select case p_code
    when 'max_attempts' then 'Every allowed attempt ended without a result: its worker went silent.'
    when 'deadline_exceeded' then 'The response was not finished before its deadline.'
  end;
$$;

/* The published, flat form: SDKs yield it instead of raising, so response.failed is still seen. */
create or replace function pgdurable._error_event(p_code text, p_message text)
returns json
language sql
stable
as $$
  select (
    '{"type":"error","code":' || to_json(p_code)::text
    || ',"message":' || to_json(p_message)::text
    || ',"param":null}'
  )::json;
$$;
