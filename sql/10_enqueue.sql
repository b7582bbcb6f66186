/*
 * enqueue: nothing -> queued, with event 0 (response.created).
 *
 *   status     -> queued
 *   called by  enqueue_responses, enqueue_response, retry_response
 *   locks      idempotency_keys rows in (principal, key) order
 *   notifies   nobody
 *   raises     nothing; an answer per response
 */

/* The one insert. Arrays run in parallel; a null key asks for no idempotency. */
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
begin
  select k.*
  into v_keys
  from pgdurable._settle_idempotency_keys(p_principals, p_idempotency_keys, p_requests, p_response_ids, v_now) as k
  where array_remove(p_idempotency_keys, null) <> '{}';

  return query
  with wanted as materialized (
    select w.*, coalesce(w.key_owner, w.response_id) as owner_id
    from unnest(
      p_response_ids, p_principals, p_conversation_ids, p_previous_response_ids, v_keys.owner_ids,
      v_keys.request_hashes, p_metadata, p_requests, p_fields, p_background, p_store
    ) with ordinality as w (
      response_id, principal, conversation_id, previous_response_id, key_owner, request_hash,
      metadata, request, fields, background, store, n
    )
  ),
  made as (
    insert into pgdurable.responses as r (
      response_id, principal, queue, agent, max_attempts, deadline_at, available_at, priority,
      retried_from, conversation_id, background, store, created_at
    )
    select
      w.response_id, w.principal, p_queue, p_agent, p_max_attempts, v_now + p_deadline, v_now + p_delay,
      p_priority, p_retried_from, w.conversation_id, w.background, w.store, v_now
    from wanted as w
    where w.owner_id = w.response_id
    on conflict (response_id) do nothing
    returning r.response_id
  ),
  requested as (
    insert into pgdurable.requests (response_id, body, fields, metadata, previous_response_id)
    select w.response_id, w.request::json, w.fields::json, w.metadata::jsonb, w.previous_response_id
    from made as m join wanted as w on w.response_id = m.response_id
  ),
  logged as (
    insert into pgdurable.events as e (response_id, seq, attempt, type, body, created_at)
    select
      w.response_id, 0, 0, 'response.created',
      pgdurable._lifecycle_event('response.created', w.response_id, v_now, 'queued', 0, w.fields::json),
      v_now
    from made as m join wanted as w on w.response_id = m.response_id
    returning e.response_id, e.body
  )
  select
    w.owner_id,
    case
      when w.owner_id = w.response_id then 'created'
      when w.request_hash = pgdurable._request_hash(w.request) then 'existing'
      else 'conflict'
    end,
    l.body
  from wanted as w
  left join logged as l on l.response_id = w.response_id
  order by w.n;
end;
$$;

create or replace function pgdurable._request_hash(p_request text)
returns text
language sql
immutable
set search_path = ''
as $$
  select encode(sha256(convert_to(p_request, 'UTF8')), 'hex');
$$;

/*
 * Whose each key is, and for which request. The key rows are inserted before anything
 * else: of fifty at once one wins, the others wait for its commit and then, in a new
 * snapshot, find its response. One that was deleted just then has freed its key.
 * The limit keeps the look-up to one index scan per key, whatever the plan; under REPEATABLE
 * READ a row that was deleted just now is still seen beside its successor.
 */
create or replace function pgdurable._settle_idempotency_keys(
  p_principals   text[],
  p_keys         text[],
  p_requests     text[],
  p_response_ids text[],
  p_now          timestamptz
)
returns table (owner_ids text[], request_hashes text[])
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_all_found boolean;
begin
  loop
    insert into pgdurable.idempotency_keys (principal, key, request_hash, response_id, created_at)
    select w.principal, w.key, pgdurable._request_hash(w.request), w.response_id, p_now
    from unnest(p_principals, p_keys, p_requests, p_response_ids)
      as w (principal, key, request, response_id)
    where w.key is not null
    order by w.principal, w.key
    on conflict (principal, key) do nothing;

    select
      array_agg(k.response_id order by w.n),
      array_agg(k.request_hash order by w.n),
      bool_and(w.key is null or k.response_id is not null)
    into owner_ids, request_hashes, v_all_found
    from unnest(p_principals, p_keys) with ordinality as w (principal, key, n)
    left join lateral (
      select o.response_id, o.request_hash
      from pgdurable.idempotency_keys as o
      where o.principal = w.principal and o.key = w.key
      order by o.created_at desc
      limit 1
    ) as k on true;

    exit when v_all_found;
  end loop;

  return next;
end;
$$;
