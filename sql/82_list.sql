/*
 * list: a page of a principal's responses, newest first or oldest first.
 *
 *   status     unchanged
 *   called by  server
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * Planned anew for the filters of each call, so that those that are null cost nothing.
 * Null filters match everything; p_after is the last id of the page before.
 */
create or replace function pgdurable.list_responses(
  p_principal       text default '',
  p_status          text default null,
  p_conversation_id text default null,
  p_metadata        jsonb default null,
  p_after           text default null,
  p_limit           integer default 20,
  p_ascending       boolean default false
)
returns setof pgdurable.listed_response
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
  v_ids text[] := pgdurable._page_of_ids(
    p_principal, p_status, p_conversation_id, p_metadata, p_after, p_limit, p_ascending
  );
begin
  return query
  select
    l.response_id, l.status, l.attempt, l.background, pgdurable._epoch(l.created_at), l.fields, l.terminal
  from unnest(v_ids) with ordinality as i (response_id, n)
  cross join lateral (
    select
      r.*,
      (select q.fields from pgdurable.requests as q where q.response_id = r.response_id) as fields,
      (
        select e.body
        from pgdurable.events as e
        where e.response_id = r.response_id and e.seq = r.last_seq and r.finished_at is not null
      ) as terminal
    from pgdurable.responses as r
    where r.response_id = i.response_id
    limit 1
  ) as l
  order by i.n;
end;
$$;

comment on function pgdurable.list_responses is
  'A page of responses, filtered by status, conversation and metadata.';

/*
 * The ids of the page. Ids are time-ordered, so it is one index range whichever way it runs;
 * no plan can run both ways by one text, so there are two.
 */
create or replace function pgdurable._page_of_ids(
  p_principal       text,
  p_status          text,
  p_conversation_id text,
  p_metadata        jsonb,
  p_after           text,
  p_limit           integer,
  p_ascending       boolean
)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
begin
  if p_ascending then
    return array(
      select r.response_id
      from pgdurable.responses as r
      where r.principal = p_principal
        and (p_after is null or r.response_id > p_after)
        and (p_status is null or r.status = p_status)
        and (p_conversation_id is null or r.conversation_id = p_conversation_id)
        and (coalesce(p_metadata, '{}') = '{}' or exists (
          select
          from pgdurable.requests as q
          where q.response_id = r.response_id
            and q.metadata @> p_metadata
            and q.metadata <> '{}'  -- as in requests_metadata_idx
        ))
      order by r.response_id
      limit p_limit
    );
  end if;

  return array(
    select r.response_id
    from pgdurable.responses as r
    where r.principal = p_principal
      and (p_after is null or r.response_id < p_after)
      and (p_status is null or r.status = p_status)
      and (p_conversation_id is null or r.conversation_id = p_conversation_id)
      and (coalesce(p_metadata, '{}') = '{}' or exists (
        select
        from pgdurable.requests as q
        where q.response_id = r.response_id
          and q.metadata @> p_metadata
          and q.metadata <> '{}'
      ))
    order by r.response_id desc
    limit p_limit
  );
end;
$$;
