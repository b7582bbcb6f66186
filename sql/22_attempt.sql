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
  return query
  with begun as (
    update pgdurable.responses as r
    set
      status = 'in_progress',
      attempt = r.attempt + 1,
      last_seq = r.last_seq + 1,
      worker_id = p_worker_id,
      lease_expires_at = v_now + p_lease,
      started_at = coalesce(r.started_at, v_now)
    where r.response_id = any(p_response_ids)
      and r.status in ('queued', 'in_progress')
    returning r.*
  ),
  placed as materialized (
    select
      b.response_id,
      b.resumed,
      case
        when b.resumed then pgdurable.rotate_conversation(b.base, b.response_id, b.attempt)
        else coalesce(a.current_conversation_id, b.base)
      end as conversation_id
    from (
      select
        g.response_id,
        g.attempt,
        g.principal,
        coalesce(g.conversation_id, g.response_id) as base,
        g.attempt > 1 and pgdurable._has_progress(g.response_id) as resumed
      from begun as g
    ) as b
    left join pgdurable.conversation_aliases as a
      on a.principal = b.principal and a.base_conversation_id = b.base
  ),
  aliased as (
    insert into pgdurable.conversation_aliases as a (
      principal, base_conversation_id, current_conversation_id, response_id, updated_at
    )
    select distinct on (g.principal, g.conversation_id)
      g.principal, g.conversation_id, p.conversation_id, g.response_id, v_now
    from placed as p
    join begun as g on g.response_id = p.response_id
    where p.resumed and g.conversation_id is not null
    order by g.principal, g.conversation_id, g.response_id desc
    on conflict (principal, base_conversation_id) do update
    set
      current_conversation_id = excluded.current_conversation_id,
      response_id = excluded.response_id,
      updated_at = excluded.updated_at
  ),
  attempted as (
    insert into pgdurable.attempts (response_id, attempt, worker_id, reason, conversation_id, started_at)
    select
      g.response_id, g.attempt, p_worker_id,
      case when p.resumed and p_reason = 'claim' then 'release' else p_reason end,
      p.conversation_id, v_now
    from begun as g
    join placed as p on p.response_id = g.response_id
  ),
  logged as (
    insert into pgdurable.events as e (response_id, seq, attempt, type, body, created_at)
    select
      g.response_id, g.last_seq, g.attempt,
      case when p.resumed then 'response.resumed' else 'response.in_progress' end,
      case
        when p.resumed then pgdurable._resumed_event(g.attempt, g.last_seq, p.conversation_id)
        else pgdurable._lifecycle_event(
          'response.in_progress', g.response_id, g.created_at, 'in_progress', g.attempt, q.fields
        )
      end,
      v_now
    from begun as g
    join placed as p on p.response_id = g.response_id
    join pgdurable.requests as q on q.response_id = g.response_id
    returning e.response_id, e.type, e.body
  )
  select
    g.response_id, g.attempt, g.status, g.last_seq, l.type, l.body, g.principal,
    pgdurable._epoch(g.created_at), p.conversation_id, g.conversation_id, q.body, q.fields, p.resumed,
    g.deadline_at
  from begun as g
  join placed as p on p.response_id = g.response_id
  join logged as l on l.response_id = g.response_id
  join pgdurable.requests as q on q.response_id = g.response_id
  order by g.priority desc, g.available_at, g.response_id;
end;
$$;

/* Did an earlier attempt append anything beyond its opening event? */
create or replace function pgdurable._has_progress(p_response_id text)
returns boolean
language sql
stable
as $$
  select exists (
    select
    from pgdurable.events as e
    where e.response_id = p_response_id
      and e.attempt >= 1
      and e.type not in ('response.in_progress', 'response.resumed')
  );
$$;

create or replace function pgdurable._resumed_event(p_attempt integer, p_seq bigint, p_conversation_id text)
returns json
language sql
immutable
as $$
  select (
    '{"type":"response.resumed","attempt":' || p_attempt
    || ',"from_seq":' || p_seq
    || ',"conversation_id":' || to_json(p_conversation_id)::text
    || '}'
  )::json;
$$;

/* End the open attempt of each of these responses. */
create or replace function pgdurable._end_attempts(
  p_response_ids text[],
  p_attempts     integer[],
  p_outcomes     text[],
  p_now          timestamptz
)
returns void
language sql
as $$
  update pgdurable.attempts as a
  set ended_at = p_now, outcome = w.outcome
  from unnest(p_response_ids, p_attempts, p_outcomes) as w (response_id, attempt, outcome)
  where a.response_id = w.response_id
    and a.attempt = w.attempt
    and a.outcome is null;
$$;
