/*
 * enqueue: nothing -> queued, with event 0 (response.created).
 *
 *   status     -> queued
 *   called by  enqueue_responses, enqueue_response, retry_response
 *   locks      what _settle_idempotency_keys locks
 *   notifies   nobody
 *   raises     nothing; an answer per response
 */

/*
 * The one way in. Arrays run in parallel; a null key asks for no idempotency. First it is
 * settled which response each key belongs to; those that are there are not made again.
 */
create or replace function pgdurable._enqueue(
  p_response_ids          text[],
  p_principals            text[],
  p_conversation_ids      text[],
  p_previous_response_ids text[],
  p_idempotency_keys      text[],
  p_metadata              text[],
  p_requests              text[],
  p_fields                text[],
  p_background            boolean[],
  p_store                 boolean[],
  p_queue                 text,
  p_agent                 text,
  p_priority              integer,
  p_max_attempts          integer,
  p_delay                 interval,
  p_deadline              interval,
  p_retried_from          text default null
)
returns setof pgdurable.enqueued_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now  timestamptz := pgdurable.now();
  v_keys record;
  v_made text[];
begin
  select k.*
  into v_keys
  from pgdurable._settle_idempotency_keys(p_principals, p_idempotency_keys, p_requests, p_response_ids, v_now) as k
  where array_remove(p_idempotency_keys, null) <> '{}';

  v_made := pgdurable._insert_responses(
    p_response_ids, v_keys.owner_ids, p_principals, p_conversation_ids, p_background, p_store, p_queue,
    p_agent, p_priority, p_max_attempts, v_now + p_delay, v_now + p_deadline, p_retried_from, v_now
  );

  return query
  select
    coalesce(w.owner_id, w.response_id),
    case
      when coalesce(w.owner_id, w.response_id) = w.response_id then 'created'
      when w.request_hash = pgdurable._request_hash(w.request) then 'existing'
      else 'conflict'
    end,
    l.event
  from unnest(p_response_ids, v_keys.owner_ids, v_keys.request_hashes, p_requests) with ordinality
    as w (response_id, owner_id, request_hash, request, n)
  left join pgdurable._insert_requests(
    v_made, p_response_ids, p_previous_response_ids, p_metadata, p_requests, p_fields, p_background, v_now
  ) as l on l.response_id = w.response_id
  order by w.n;
end;
$$;

/* The rows of the responses that own their keys, or have none. Answers the ids that were new. */
create or replace function pgdurable._insert_responses(
  p_response_ids     text[],
  p_owner_ids        text[],
  p_principals       text[],
  p_conversation_ids text[],
  p_background       boolean[],
  p_store            boolean[],
  p_queue            text,
  p_agent            text,
  p_priority         integer,
  p_max_attempts     integer,
  p_available_at     timestamptz,
  p_deadline_at      timestamptz,
  p_retried_from     text,
  p_now              timestamptz
)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_made text[];
begin
  with made as (
    insert into pgdurable.responses as r (
      response_id, principal, queue, agent, max_attempts, deadline_at, available_at, priority,
      retried_from, conversation_id, background, store, created_at
    )
    select
      w.response_id, w.principal, p_queue, p_agent, p_max_attempts, p_deadline_at, p_available_at,
      p_priority, p_retried_from, w.conversation_id, w.background, w.store, p_now
    from unnest(p_response_ids, p_owner_ids, p_principals, p_conversation_ids, p_background, p_store)
      as w (response_id, owner_id, principal, conversation_id, background, store)
    where coalesce(w.owner_id, w.response_id) = w.response_id
    on conflict (response_id) do nothing
    returning r.response_id
  )
  select array_agg(m.response_id)
  into v_made
  from made as m;

  return v_made;
end;
$$;

/* What belongs to the new ones: the request and event 0, which it answers. */
create or replace function pgdurable._insert_requests(
  p_made                  text[],
  p_response_ids          text[],
  p_previous_response_ids text[],
  p_metadata              text[],
  p_requests              text[],
  p_fields                text[],
  p_background            boolean[],
  p_now                   timestamptz
)
returns table (response_id text, event json)
language plpgsql
set search_path = ''
as $$
begin
  return query
  with made as materialized (
    select w.response_id, w.previous_response_id, w.metadata, w.request, w.fields::json as fields, w.background
    from unnest(p_response_ids, p_previous_response_ids, p_metadata, p_requests, p_fields, p_background)
      as w (response_id, previous_response_id, metadata, request, fields, background)
    where cardinality(p_made) = cardinality(p_response_ids)
      or w.response_id = any(p_made)
  ),
  requested as (
    insert into pgdurable.requests (response_id, body, fields, metadata, previous_response_id)
    select m.response_id, m.request::json, m.fields, m.metadata::jsonb, m.previous_response_id
    from made as m
  )
  insert into pgdurable.events as e (response_id, seq, attempt, type, body, created_at)
  select
    m.response_id, 0, 0, 'response.created',
    pgdurable._lifecycle_event(
      'response.created', m.response_id, p_now, 'queued', 0, m.fields, p_background => m.background
    ),
    p_now
  from made as m
  returning e.response_id, e.body;
end;
$$;
