/*
 * tail: the reader's functions, one snapshot each. A cursor is the last seq a
 * reader has; -1 is nothing yet.
 *
 *   status     unchanged
 *   called by  tail, server, people
 *   locks      nothing
 *   notifies   nobody
 *   raises     PD001 not_found (get_response)
 */

/* The state, and the terminal event or the items closed so far. */
create or replace function pgdurable.get_response(p_response_id text, p_principal text default '')
returns setof pgdurable.response_snapshot
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  select
    r.response_id, r.principal, r.status, r.attempt, r.last_seq, r.background, r.store,
    pgdurable._epoch(r.created_at), r.conversation_id, q.fields, t.body,
    case when r.finished_at is null then array(
      select i.body
      from pgdurable.events as i
      where i.response_id = r.response_id
        and i.type = 'response.output_item.done'
        and i.seq > case when r.attempt > 1 then pgdurable._last_marker(r.response_id) else 0 end
      order by i.seq
    ) end
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  left join pgdurable.events as t
    on t.response_id = r.response_id and t.seq = r.last_seq and r.finished_at is not null
  where r.response_id = p_response_id
    and r.principal = p_principal;

  if not found then
    perform pgdurable._refuse_not_found(p_response_id);
  end if;
end;
$$;

comment on function pgdurable.get_response is
  'One response: status, attempt, and its terminal event or the items closed so far.';

/* Up to p_limit events per response after its cursor: one query for every tail of a process. */
create or replace function pgdurable.read_events(
  p_response_ids text[],
  p_cursors      bigint[],
  p_limit        integer default 1000
)
returns setof pgdurable.stored_event
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return query
  select e.response_id, e.seq, e.attempt, e.type, e.body
  from unnest(p_response_ids, p_cursors) as w (response_id, cursor)
  cross join lateral (
    select v.response_id, v.seq, v.attempt, v.type, v.body
    from pgdurable.events as v
    where v.response_id = w.response_id
      and v.seq > w.cursor
    order by v.seq
    limit p_limit
  ) as e;
end;
$$;

comment on function pgdurable.read_events is
  'The events after each response''s cursor, in order.';

/* Which of these still exist; a tail that hears of a response without news asks. */
create or replace function pgdurable.existing_responses(p_response_ids text[])
returns setof text
language sql
stable
set search_path = ''
as $$
  select r.response_id
  from pgdurable.responses as r
  where r.response_id = any(p_response_ids);
$$;

comment on function pgdurable.existing_responses is
  'Those of the ids whose responses have not been deleted.';

/* The request of a response, for its input items. */
create or replace function pgdurable.get_request(p_response_id text, p_principal text default '')
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
  v_body json;
begin
  select q.body
  into v_body
  from pgdurable.requests as q
  join pgdurable.responses as r on r.response_id = q.response_id
  where q.response_id = p_response_id
    and r.principal = p_principal;

  if not found then
    perform pgdurable._refuse_not_found(p_response_id);
  end if;

  return v_body;
end;
$$;

comment on function pgdurable.get_request is
  'The request of a response, as it was sent.';
