/*
 * cancel: the client's request.
 *
 *   status     queued -> cancelled; in_progress: a durable flag that the worker observes
 *   called by  server, people
 *   locks      responses row, and waits for it
 *   notifies   pgdurable_work (the worker that has it), pgdurable_tail
 *   raises     PD001 not_found, PD003 already_finished
 */

/* Answers the status after the call: cancelled, or in_progress while the worker is being asked. */
create or replace function pgdurable.cancel_response(p_response_id text, p_principal text default '')
returns text
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now    timestamptz;
  v_status text;
begin
  select r.status
  into v_status
  from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.principal = p_principal
  for no key update;

  v_now := pgdurable.now();

  if v_status is null then
    perform pgdurable._refuse_not_found(p_response_id);
  elsif v_status = 'queued' then
    perform pgdurable._end_without_handler(p_response_id, 'cancelled', v_now);
    v_status := 'cancelled';
  elsif v_status = 'in_progress' then
    update pgdurable.responses as r
    set cancel_requested_at = coalesce(r.cancel_requested_at, v_now)
    where r.response_id = p_response_id;
  else
    perform pgdurable._refuse(
      'PD003',
      'Response ''' || p_response_id || ''' is already ' || v_status || '.',
      'A finished response never changes; pgdurable.retry_response makes a new one.'
    );
  end if;

  perform pgdurable.wake('pgdurable_work', array[p_response_id]);
  perform pgdurable.wake('pgdurable_tail', array[p_response_id]);
  return v_status;
end;
$$;

comment on function pgdurable.cancel_response is
  'Cancel a response: at once if it is queued, through its worker if it is in progress.';
