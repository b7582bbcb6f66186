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
 * Every attempt opens with one event: response.in_progress, or response.resumed
 * when earlier attempts left events of their own. A resumed attempt runs on a
 * rotated conversation, and the alias commits with it.
 */
create or replace function pgdurable._begin_attempts(
  p_response_ids text[],
  p_worker_id    text,
  p_lease        interval,
  p_reason       text
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
as $$
declare
  v_now timestamptz := pgdurable.now();
begin
  update pgdurable.responses as r
  set
    status = 'in_progress',
    attempt = r.attempt + 1,
    last_seq = r.last_seq + 1,
    worker_id = p_worker_id,
    lease_expires_at = v_now + p_lease,
    started_at = coalesce(r.started_at, greatest(v_now, r.created_at))
  where r.response_id = any(p_response_ids);

  perform pgdurable._place_attempts(p_response_ids, p_reason, v_now);

  return query
  with begun as materialized (
    select r.*, q.body, q.fields, a.resumed, a.conversation_id as current_conversation_id
    from pgdurable.responses as r
    join pgdurable.requests as q on q.response_id = r.response_id
    join pgdurable.attempts as a on a.response_id = r.response_id and a.attempt = r.attempt
    where r.response_id = any(p_response_ids)
      and q.response_id = any(p_response_ids)
      and a.response_id = any(p_response_ids)
  ),
  opened as materialized (
    select
      b.*,
      case when b.resumed then 'response.resumed' else 'response.in_progress' end as event_type,
      case
        when b.resumed then pgdurable._resumed_event(b.attempt, b.last_seq, b.current_conversation_id)
        else pgdurable._lifecycle_event(
          'response.in_progress', b.response_id, b.created_at, b.status, b.attempt, b.fields
        )
      end as event
    from begun as b
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select o.response_id, o.last_seq, o.attempt, o.event_type, o.event, v_now
    from opened as o
  )
  select
    o.response_id, o.attempt, o.status, o.last_seq, o.event_type, o.event, o.principal,
    pgdurable._epoch(o.created_at), o.current_conversation_id, o.conversation_id, o.body, o.fields,
    o.resumed, o.deadline_at
  from opened as o
  order by o.priority desc, o.available_at, o.response_id;
end;
$$;

/*
 * Which conversation the attempts that have just begun run on: a rotated one where
 * they resume, else the one that the alias points to now.
 */
create or replace function pgdurable._place_attempts(p_response_ids text[], p_reason text, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
  with begun as materialized (
    select
      r.*,
      coalesce(r.conversation_id, r.response_id) as base_id,
      r.attempt > 1 and pgdurable._has_progress(r.response_id) as resumed
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
      case when b.resumed and p_reason = 'claim' then 'release' else p_reason end,
      b.resumed,
      case
        when b.resumed then pgdurable.rotate_conversation(b.base_id, b.response_id, b.attempt)
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
  where p.resumed and b.conversation_id is not null
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

create or replace function pgdurable._resumed_event(p_attempt integer, p_seq bigint, p_conversation_id text)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    '{"type":"response.resumed","attempt":' || p_attempt
    || ',"from_seq":' || p_seq
    || ',"conversation_id":' || to_json(p_conversation_id)::text
    || '}'
  )::json;
end;
$$;
