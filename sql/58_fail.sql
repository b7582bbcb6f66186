/*
 * fail: a response ends because the database refuses what its attempt has to store.
 *
 *   status     in_progress -> failed
 *   called by  writer
 *   locks      responses row, and waits for it
 *   notifies   nobody: the writer wakes tails after commit
 *   raises     PD002 lease_lost
 */

/*
 * The database has refused what an attempt wanted to store: a check that an operator has added,
 * a limit. The next attempt would meet the same, so the response ends at once, with
 * what is in its log.
 */
create or replace function pgdurable.fail_response(p_response_id text, p_attempt integer)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz;
begin
  perform
  from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.attempt = p_attempt
    and r.status = 'in_progress'
  for no key update;

  if not found then
    perform pgdurable._refuse_lost(p_response_id, p_attempt);
  end if;

  v_now := pgdurable.now();

  update pgdurable.attempts as a
  set ended_at = greatest(v_now, a.started_at), outcome = 'failed', company = null
  where a.response_id = p_response_id
    and a.attempt = p_attempt;

  perform pgdurable._end_without_handler(p_response_id, 'storage_refused', v_now);
end;
$$;

comment on function pgdurable.fail_response is
  'End a response whose attempt has something that the database refuses to store.';
