/*
 * agents: for which agent a response is that names none.
 *
 *   status     none
 *   called by  enqueue_response
 *   locks      nothing
 *   notifies   nobody
 *   raises     22023 invalid_parameter_value
 */

/*
 * The only agent of the queue's workers: of those that live, else of all that are known. Where
 * several have one, the person has to say which; where no worker has come yet, the empty name,
 * which goes to whichever agent comes first.
 */
create or replace function pgdurable._agent_of(p_queue text)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
  v_live  text[] := pgdurable._agents_seen(p_queue, pgdurable.now() - interval '1 minute');
  v_known text[] := coalesce(nullif(v_live, '{}'), pgdurable._agents_seen(p_queue, '-infinity'));
begin
  if cardinality(v_known) > 1 then
    perform pgdurable._refuse(
      '22023',
      'Queue ''' || p_queue || ''' has several agents: ' || array_to_string(v_known, ', ') || '.',
      'Say which one: p_agent => ''' || v_known[1] || '''.'
    );
  end if;

  return coalesce(v_known[1], '');
end;
$$;

/* The agents of workers that were seen after this time and have not stopped; of all, for -infinity. */
create or replace function pgdurable._agents_seen(p_queue text, p_after timestamptz)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
begin
  return array(
    select distinct a.agent
    from pgdurable.workers as w
    cross join unnest(w.agents) as a (agent)
    where p_queue = any(w.queues)
      and w.last_seen_at > p_after
      and (w.stopped_at is null or p_after = '-infinity')
    order by a.agent
  );
end;
$$;
