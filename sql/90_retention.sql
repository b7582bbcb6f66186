/*
 * retention: finished responses leave, a bounded number at a time.
 *
 *   status     terminal -> gone
 *   called by  people, cron, `pgdurable prune`
 *   locks      responses rows (skip locked: never waits), then conversation_aliases rows in
 *              (principal, base_conversation_id) order, then workers rows (skip locked)
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * Ids are time-ordered, so what is too young is cut off by the primary key.
 * Also removes what store: false left behind when its server died (by an index of
 * its own, there is next to none), and workers that nobody has seen for as long.
 * Answers how many responses went.
 */
create or replace function pgdurable.prune_responses(p_older_than interval, p_limit integer default 1000)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now           timestamptz := pgdurable.now();
  v_ids           text[];
  v_principals    text[];
  v_conversations text[];
begin
  with old as materialized (
    select r.response_id
    from pgdurable.responses as r
    where r.response_id < pgdurable._first_response_id(v_now - p_older_than)
      and r.finished_at < v_now - p_older_than
    order by r.response_id
    limit p_limit
    for update skip locked
  ),
  unstored as materialized (
    select r.response_id
    from pgdurable.responses as r
    where not r.store
      and r.finished_at < v_now - least(p_older_than, interval '1 hour')
    order by r.response_id
    limit p_limit
    for update skip locked
  ),
  gone as (
    delete from pgdurable.responses as r
    using (select o.response_id from old as o union select u.response_id from unstored as u limit p_limit) as d
    where r.response_id = d.response_id
    returning r.response_id, r.principal, r.conversation_id
  )
  select coalesce(array_agg(g.response_id), '{}'), array_agg(g.principal), array_agg(g.conversation_id)
  into v_ids, v_principals, v_conversations
  from gone as g;

  perform pgdurable._delete_leftovers(v_ids, v_principals, v_conversations);
  perform pgdurable._delete_old_workers(v_now - greatest(p_older_than, interval '1 hour'), p_limit);
  return cardinality(v_ids);
end;
$$;

comment on function pgdurable.prune_responses is
  'Delete up to p_limit responses that finished longer ago than this; answers how many.';

/* A worker that lives beats far more often than this; one that a lease still names stays, to tell where it ran. */
create or replace function pgdurable._delete_old_workers(p_last_seen_before timestamptz, p_limit integer)
returns void
language sql
set search_path = ''
as $$
  with old as materialized (
    select w.worker_id
    from pgdurable.workers as w
    where w.last_seen_at < p_last_seen_before
      and not exists (
        select
        from pgdurable.responses as r
        where r.worker_id = w.worker_id
          and r.status = 'in_progress'
      )
    limit p_limit
    for update of w skip locked
  )
  delete from pgdurable.workers as w
  using old as o
  where w.worker_id = o.worker_id;
$$;

/*
 * What no foreign key takes along. An alias goes with the last response of its
 * conversation: its row is locked first, so that of two who delete the last two,
 * the second one waits, and then sees that none is left.
 */
create or replace function pgdurable._delete_leftovers(
  p_response_ids     text[],
  p_principals       text[],
  p_conversation_ids text[]
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_gone record;
begin
  delete from pgdurable.events as e
  where e.response_id = any(p_response_ids);

  delete from pgdurable.idempotency_keys as k
  where k.response_id = any(p_response_ids);

  for v_gone in
    select distinct g.principal, g.conversation_id
    from unnest(p_principals, p_conversation_ids) as g (principal, conversation_id)
    where g.conversation_id is not null
    order by g.principal, g.conversation_id
  loop
    perform
    from pgdurable.conversation_aliases as a
    where a.principal = v_gone.principal
      and a.base_conversation_id = v_gone.conversation_id
    for update;

    delete from pgdurable.conversation_aliases as a
    where a.principal = v_gone.principal
      and a.base_conversation_id = v_gone.conversation_id
      and not exists (
        select
        from pgdurable.responses as r
        where r.principal = v_gone.principal
          and r.conversation_id = v_gone.conversation_id
      );
  end loop;
end;
$$;
