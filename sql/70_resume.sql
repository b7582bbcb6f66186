/*
 * resume: what an attempt may know of the ones before it, and of the
 * conversation it stands in.
 *
 *   status     unchanged
 *   called by  attempt, server
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */

/* Everything that earlier attempts appended, in order. */
create or replace function pgdurable.previous_events(p_response_id text, p_attempt integer)
returns setof pgdurable.stored_event
language sql
stable
set search_path = ''
as $$
  select e.response_id, e.seq, e.attempt, e.type, e.body
  from pgdurable.events as e
  where e.response_id = p_response_id
    and e.attempt between 1 and p_attempt - 1
  order by e.seq;
$$;

comment on function pgdurable.previous_events is
  'The events that the attempts before p_attempt appended.';

/*
 * What a new request points to and the principal does not have, in the order given. A
 * subquery per id: looked up by key, and no body is read.
 */
create or replace function pgdurable.unknown_references(
  p_principal    text,
  p_response_ids text[],
  p_item_ids     text[]
)
returns setof text
language sql
stable
set search_path = ''
as $$
  select w.response_id
  from unnest(p_response_ids) as w (response_id)
  where p_principal is distinct from (
    select r.principal
    from pgdurable.responses as r
    where r.response_id = w.response_id
  )
  union all
  select w.item_id
  from unnest(p_item_ids) as w (item_id)
  where not exists (
    select
    from pgdurable.events as e
    where e.item_id = w.item_id
      and p_principal = (
        select r.principal
        from pgdurable.responses as r
        where r.response_id = e.response_id
      )
  );
$$;

comment on function pgdurable.unknown_references is
  'Those of the responses and items that the principal does not have.';

/*
 * The stored items behind item_reference inputs; of equal ids the newest, within the
 * principal. Here and below, a subquery of one row instead of a join: looked up by
 * key, whatever the planner thinks of the sizes.
 */
create or replace function pgdurable.read_items(p_principal text, p_item_ids text[])
returns setof pgdurable.stored_item
language sql
stable
set search_path = ''
as $$
  select distinct on (e.item_id) e.item_id, e.response_id, e.body
  from pgdurable.events as e
  where e.item_id = any(p_item_ids)
    and p_principal = (
      select r.principal
      from pgdurable.responses as r
      where r.response_id = e.response_id
    )
  order by e.item_id, e.response_id desc, e.seq desc;
$$;

comment on function pgdurable.read_items is
  'The closed items with these ids, as their response.output_item.done events.';

/*
 * The responses before this one, oldest first: what each was asked, and its
 * terminal event. previous_response_id names the newest of them.
 */
create or replace function pgdurable.read_chain(
  p_principal            text,
  p_previous_response_id text,
  p_limit                integer default 100
)
returns setof pgdurable.chain_link
language sql
stable
set search_path = ''
as $$
  with recursive chain as (
    select q.response_id, q.previous_response_id, 1 as depth
    from pgdurable.requests as q
    where q.response_id = p_previous_response_id
    union all
    select p.response_id, p.previous_response_id, c.depth + 1
    from chain as c
    cross join lateral (
      select q.response_id, q.previous_response_id
      from pgdurable.requests as q
      where q.response_id = c.previous_response_id
      limit 1
    ) as p
    where c.depth < p_limit
  )
  select c.response_id, l.status, l.request, l.terminal
  from chain as c
  cross join lateral (
    select
      r.status,
      (select q.body from pgdurable.requests as q where q.response_id = r.response_id) as request,
      (
        select e.body
        from pgdurable.events as e
        where e.response_id = r.response_id and e.seq = r.last_seq and r.finished_at is not null
      ) as terminal
    from pgdurable.responses as r
    where r.response_id = c.response_id
      and r.principal = p_principal
    limit 1
  ) as l
  order by c.depth desc;
$$;

comment on function pgdurable.read_chain is
  'The responses that previous_response_id leads back to, oldest first.';
