/*
 * retry: a finished response stays as it is; the same request is enqueued anew, in
 * the background: no client of the new one is waiting.
 *
 *   status     nothing -> queued, for a new response
 *   called by  server, people
 *   locks      nothing
 *   notifies   pgdurable_work
 *   raises     PD001 not_found, PD006 not_finished
 */
create or replace function pgdurable.retry_response(p_response_id text, p_principal text default '')
returns text
language plpgsql
set search_path = ''
as $$
declare
  v_old record;
  v_new pgdurable.enqueued_response;
begin
  select r.*, q.body, q.fields, q.metadata, q.previous_response_id
  into v_old
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  where r.response_id = p_response_id
    and r.principal = p_principal;

  if v_old.response_id is null then
    perform pgdurable._refuse_not_found(p_response_id);
  elsif v_old.finished_at is null then
    perform pgdurable._refuse(
      'PD006',
      'Response ''' || p_response_id || ''' is still ' || v_old.status || '.',
      'Wait for it, or cancel it first.'
    );
  end if;

  select e.*
  into v_new
  from pgdurable._enqueue(
    array[pgdurable.new_response_id()], array[v_old.principal], array[v_old.conversation_id],
    array[v_old.previous_response_id], array[null]::text[], array[v_old.metadata::text],
    array[v_old.body::text], array[v_old.fields::text], array[true], array[v_old.store], v_old.queue,
    v_old.agent, v_old.priority, v_old.max_attempts, interval '0', v_old.deadline_at - v_old.created_at, p_response_id
  ) as e;

  perform pgdurable.wake('pgdurable_work', array[v_new.response_id]);
  return v_new.response_id;
end;
$$;

comment on function pgdurable.retry_response is
  'Enqueue the request of a finished response again, as a new response; answers its id.';
