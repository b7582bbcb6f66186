/*
 * attempt: the next attempt begins. What a claim and a takeover have in common.
 *
 *   status     queued or in_progress -> in_progress, attempt + 1
 *   called by  claim_responses, take_over_responses, which hold the responses rows
 *   locks      conversation_aliases rows in (principal, base_conversation_id) order
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * Every attempt opens with one event: response.in_progress, or response.resumed when earlier
 * attempts left events of their own; such an attempt runs on a rotated conversation, and the
 * alias commits with it, unless its agent is in p_keeping. An agent in p_restarting starts over
 * instead: no event, the same conversation, and its readers see nothing but a pause. Answers
 * the ids of those. _open_attempts goes on from there; it is called apart, so that no request
 * body is copied once more.
 */
create or replace function pgdurable._begin_attempts(
  p_response_ids text[],
  p_worker_id    text,
  p_lease        interval,
  p_reason       text,
  p_restarting   text[],
  p_keeping      text[]
)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_now       timestamptz := pgdurable.now();
  v_restarted text[] := pgdurable._restarted(p_response_ids, p_restarting);
begin
  update pgdurable.responses as r
  set
    status = 'in_progress',
    attempt = r.attempt + 1,
    last_seq = r.last_seq + case when r.response_id = any(v_restarted) then 0 else 1 end,
    worker_id = p_worker_id,
    lease_expires_at = v_now + p_lease,
    started_at = coalesce(r.started_at, greatest(v_now, r.created_at))
  where r.response_id = any(p_response_ids);

  perform pgdurable._place_attempts(p_response_ids, v_restarted, p_keeping, p_reason, v_now);

  return v_restarted;
end;
$$;

/* Of these, the ones that start over: earlier attempts left events, and the agent knows to retrace them. */
create or replace function pgdurable._restarted(p_response_ids text[], p_restarting text[])
returns text[]
language plpgsql
stable
set search_path = ''
as $$
begin
  if p_restarting = '{}' then
    return array[]::text[];
  end if;

  return array(
    select r.response_id
    from pgdurable.responses as r
    where r.response_id = any(p_response_ids)
      and r.agent = any(p_restarting)
      and r.attempt >= 1
      and pgdurable._has_progress(r.response_id)
  );
end;
$$;

/*
 * Which conversation the attempts that have just begun run on: a rotated one where
 * they resume, else (also where they start over) the one that the alias points to now.
 */
create or replace function pgdurable._place_attempts(
  p_response_ids text[], p_restarted text[], p_keeping text[], p_reason text, p_now timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  with begun as materialized (
    select
      r.*,
      coalesce(r.conversation_id, r.response_id) as base_id,
      r.response_id = any(p_restarted) as restarted,
      r.attempt > 1 and r.response_id <> all(p_restarted) and pgdurable._has_progress(r.response_id) as resumed
    from pgdurable.responses as r
    where r.response_id = any(p_response_ids)
  ),
  placed as (
    insert into pgdurable.attempts as a (
      response_id, attempt, worker_id, reason, resumed, conversation_id, started_at
    )
    select
      b.response_id,
      b.attempt,
      b.worker_id,
      case when (b.resumed or b.restarted) and p_reason = 'claim' then 'release' else p_reason end,
      b.resumed,
      case
        when b.resumed and b.agent <> all(p_keeping)
        then pgdurable.rotate_conversation(b.base_id, b.response_id, b.attempt)
        else coalesce(c.current_conversation_id, b.base_id)
      end,
      p_now
    from begun as b
    left join lateral (
      select o.current_conversation_id
      from pgdurable.conversation_aliases as o
      where o.principal = b.principal and o.base_conversation_id = b.base_id
      limit 1
    ) as c on true
    returning a.response_id, a.resumed, a.conversation_id
  )
  insert into pgdurable.conversation_aliases as c (
    principal, base_conversation_id, current_conversation_id, response_id, updated_at
  )
  select distinct on (b.principal, b.conversation_id)
    b.principal, b.conversation_id, p.conversation_id, b.response_id, p_now
  from placed as p
  join begun as b on b.response_id = p.response_id
  where p.resumed and b.agent <> all(p_keeping) and b.conversation_id is not null
  order by b.principal, b.conversation_id, b.response_id desc
  on conflict (principal, base_conversation_id) do update
  set
    current_conversation_id = excluded.current_conversation_id,
    response_id = excluded.response_id,
    updated_at = excluded.updated_at;
end;
$$;

/* Did an earlier attempt append anything beyond its opening event? */
create or replace function pgdurable._has_progress(p_response_id text)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
  return exists (
    select
    from pgdurable.events as e
    where e.response_id = p_response_id
      and e.attempt >= 1
      and e.type not in ('response.in_progress', 'response.resumed')
  );
end;
$$;
