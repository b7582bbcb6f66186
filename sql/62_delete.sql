/*
 * delete: a response leaves, in whatever state it is.
 *
 *   status     any -> gone
 *   called by  server, people
 *   locks      responses row, and waits for it; then what _delete_leftovers locks
 *   notifies   pgdurable_work (the worker that has it), pgdurable_tail
 *   raises     PD001 not_found
 */

/*
 * The owner of a running one is fenced off by the row that is gone. One that was not to
 * be stored leaves its conversation's alias behind: its next turn needs it.
 */
create or replace function pgdurable.delete_response(p_response_id text, p_principal text default '')
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_conversation_id text;
begin
  delete from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.principal = p_principal
  returning case when r.store then r.conversation_id end into v_conversation_id;

  if not found then
    perform pgdurable._refuse_not_found(p_response_id);
  end if;

  perform pgdurable._delete_leftovers(array[p_response_id], array[p_principal], array[v_conversation_id]);
  perform pgdurable.wake('pgdurable_work', array[p_response_id]);
  perform pgdurable.wake('pgdurable_tail', array[p_response_id]);
end;
$$;

comment on function pgdurable.delete_response is
  'Delete a response, its request, its events and its attempts, also while it runs.';
