/*
 * lock: the rows of a batch, always in one order. What the writer's functions begin with.
 *
 *   status     unchanged
 *   called by  append_events, finish_responses, release_responses
 *   locks      responses rows in response_id order, and waits for them
 *   notifies   nobody
 *   raises     nothing
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
as $$
begin
  perform
  from pgdurable.responses as r
  where r.response_id = any(p_response_ids)
  order by r.response_id
  for no key update;
end;
$$;
