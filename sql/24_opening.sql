/*
 * opening: the event that an attempt opens with, and what its worker has to know.
 *
 *   status     unchanged (in_progress)
 *   called by  claim_responses, take_over_responses, which hold the responses rows
 *   locks      nothing more
 *   notifies   nobody
 *   raises     nothing
 */

/* The opening event of each attempt that has just begun, and what its worker has to know. */
create or replace function pgdurable._open_attempts(
  p_response_ids text[],
  p_restarted    text[],
  p_now          timestamptz
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
as $$
begin
  return query
  with begun as materialized (
    select
      r.*, q.body, q.fields, a.resumed, a.conversation_id as current_conversation_id,
      r.response_id = any(p_restarted) as restarted
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
      case when b.restarted then null when b.resumed then 'response.resumed' else 'response.in_progress' end
        as event_type,
      case
        when b.restarted then null
        when b.resumed then pgdurable._resumed_event(b.attempt, b.last_seq, b.current_conversation_id)
        else pgdurable._lifecycle_event(
          'response.in_progress', b.response_id, b.created_at, b.status, b.attempt, b.fields,
          p_background => b.background
        )
      end as event
    from begun as b
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select o.response_id, o.last_seq, o.attempt, o.event_type, o.event, p_now
    from opened as o
    where not o.restarted
  )
  select
    o.response_id, o.attempt, o.status, o.last_seq, o.event_type, o.event, o.principal,
    pgdurable._epoch(o.created_at), o.current_conversation_id, o.conversation_id, o.body, o.fields, o.background,
    o.resumed, o.restarted, o.deadline_at,
    case when o.attempt > 3 then (select s.cap from pgdurable._suspicion(o.response_id, o.attempt - 1) as s) end,
    case when o.attempt > 3 then (
      select s.lived * 1.5 + interval '1 s' from pgdurable._suspicion(o.response_id, o.attempt - 1) as s
    ) end
  from opened as o
  order by o.priority desc, o.available_at, o.response_id;
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

/* Where the events begin that the output is made of: behind the last marker, else at the start. */
create or replace function pgdurable._last_marker(p_response_id text)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
  return coalesce(
    (
      select max(e.seq)
      from pgdurable.events as e
      where e.response_id = p_response_id
        and e.type = 'response.resumed'
    ),
    0
  );
end;
$$;
