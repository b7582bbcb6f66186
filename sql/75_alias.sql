/*
 * alias: rotation, and the stable conversation id that points to the current one.
 *
 *   status     unchanged
 *   called by  _begin_attempts; server and people (resolve, overview)
 *   locks      upsert: responses row, and waits for it, then conversation_aliases row
 *   notifies   nobody
 *   raises     PD002 lease_lost (upsert_conversation_alias)
 */

/*
 * Always from the base id, so chains stay flat; the response's random digits keep
 * two turns of one conversation from meeting at the same attempt number.
 */
create or replace function pgdurable.rotate_conversation(p_base text, p_response_id text, p_attempt integer)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return p_base || '::r-' || right(p_response_id, 8) || '-' || p_attempt;
end;
$$;

comment on function pgdurable.rotate_conversation is
  'The conversation id that this attempt of this response runs on, instead of the base.';

create or replace function pgdurable.resolve_conversation_alias(p_principal text, p_base text)
returns text
language sql
stable
set search_path = ''
as $$
  select coalesce(
    (
      select a.current_conversation_id
      from pgdurable.conversation_aliases as a
      where a.principal = p_principal
        and a.base_conversation_id = p_base
    ),
    p_base
  );
$$;

comment on function pgdurable.resolve_conversation_alias is
  'The current id of a conversation; the base itself where it never rotated.';

/* Fenced like every write: only the attempt that holds the lease may move the alias. */
create or replace function pgdurable.upsert_conversation_alias(
  p_principal   text,
  p_base        text,
  p_current     text,
  p_response_id text,
  p_attempt     integer
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform
  from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.principal = p_principal
    and r.attempt = p_attempt
    and r.status = 'in_progress'
  for no key update;

  if not found then
    perform pgdurable._refuse_lost(p_response_id, p_attempt);
  end if;

  insert into pgdurable.conversation_aliases as a (
    principal, base_conversation_id, current_conversation_id, response_id, updated_at
  )
  values (p_principal, p_base, p_current, p_response_id, pgdurable.now())
  on conflict (principal, base_conversation_id) do update
  set
    current_conversation_id = excluded.current_conversation_id,
    response_id = excluded.response_id,
    updated_at = excluded.updated_at;
end;
$$;

comment on function pgdurable.upsert_conversation_alias is
  'Point a conversation''s stable id at its current one, on behalf of an attempt.';

/* No row where the principal has no response in that conversation. */
create or replace function pgdurable.get_conversation(p_principal text, p_base text)
returns setof pgdurable.conversation
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
  select
    p_base,
    pgdurable.resolve_conversation_alias(p_principal, p_base),
    max(r.response_id) filter (where r.finished_at is null),
    max(r.response_id),
    coalesce(
      json_agg(
        json_build_object(
          'conversation_id', a.conversation_id, 'response_id', a.response_id, 'attempt', a.attempt,
          'at', pgdurable._epoch(a.started_at)
        )
        order by a.started_at
      ) filter (where a.response_id is not null),
      '[]'
    )
  from pgdurable.responses as r
  left join lateral (
    select t.response_id, t.attempt, t.conversation_id, t.started_at
    from pgdurable.attempts as t
    where t.response_id = r.response_id
      and t.resumed
    offset 0  -- looked up per response, whatever the planner thinks of the sizes
  ) as a on true
  where r.principal = p_principal
    and r.conversation_id = p_base
  having count(*) > 0;
$$;

comment on function pgdurable.get_conversation is
  'A conversation''s current id, its rotations, and the response that is active in it.';
