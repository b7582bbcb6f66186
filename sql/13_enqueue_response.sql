/*
 * enqueue response: one, for a person or for a transaction of the caller's own. What POST
 * answers with 400 is refused here, in the same words.
 *
 *   status     -> queued
 *   called by  people
 *   locks      idempotency_keys rows in (principal, key) order
 *   notifies   pgdurable_work
 *   raises     PD004 idempotency_conflict, 22023 invalid_parameter_value
 */

/*
 * The response exists if and when the caller commits. It is a background response, whatever the
 * request says: no client is waiting. The request is read as jsonb, so U+0000 is refused.
 */
create or replace function pgdurable.enqueue_response(
  p_request         json,
  p_principal       text default '',
  p_queue           text default 'default',
  p_agent           text default null,
  p_conversation_id text default null,
  p_idempotency_key text default null,
  p_priority        integer default 0,
  p_max_attempts    integer default 3,
  p_delay           interval default '0',
  p_deadline        interval default null
)
returns text
language plpgsql
set search_path = ''
as $$
declare
  v_request      jsonb := p_request::jsonb;
  v_agent        text := coalesce(p_agent, pgdurable._agent_of(p_queue));
  v_conversation text := coalesce(p_conversation_id, pgdurable._conversation_anchor(v_request));
  v_previous     text := nullif(v_request ->> 'previous_response_id', '');
  v_enqueued     pgdurable.enqueued_response;
begin
  perform pgdurable._check_request(p_request::text, v_request);
  perform pgdurable._check_id(v_conversation, 'conversation');
  perform pgdurable._check_id(v_previous, 'previous_response_id');
  perform pgdurable._check_references(p_principal, v_previous, v_request -> 'input');

  select e.*
  into v_enqueued
  from pgdurable._enqueue(
    array[pgdurable.new_response_id()],
    array[p_principal],
    array[v_conversation],
    array[v_previous],
    array[p_idempotency_key],
    array[coalesce(nullif(v_request -> 'metadata', 'null'), '{}')::text],
    array[v_request::text],
    array[pgdurable._response_fields(v_request, coalesce(nullif(v_agent, ''), 'agent'))::text],
    array[true],
    array[true],
    p_queue, v_agent, p_priority, p_max_attempts, p_delay, p_deadline
  ) as e;

  if v_enqueued.outcome = 'conflict' then
    perform pgdurable._refuse(
      'PD004',
      'Idempotency key ''' || p_idempotency_key || ''' was used before with another request.',
      'Send the same request again, or take another key.'
    );
  end if;

  perform pgdurable.wake('pgdurable_work', array[v_enqueued.response_id]);
  return v_enqueued.response_id;
end;
$$;

comment on function pgdurable.enqueue_response is
  'Enqueue one response inside the caller''s transaction and return its id.';

/* The conversation that a request names, if any. */
create or replace function pgdurable._conversation_anchor(p_request jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
  select p_request #>> p.path
  from pgdurable._conversation_paths() as p
  where jsonb_typeof(p_request #> p.path) = 'string'
    and p_request #>> p.path <> ''
  order by p.n
  limit 1;
$$;

/* What the response object says of a request; requests.fields.echoed says it for POST. */
create or replace function pgdurable._response_fields(p_request jsonb, p_agent text)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_fields jsonb;
begin
  select jsonb_object_agg(f.name, coalesce(
    case when jsonb_typeof(f.default_value) = 'object' then f.default_value || s.value else s.value end,
    f.default_value,
    'null'
  ))
  into v_fields
  from pgdurable._request_fields() as f
  cross join lateral (
    select case
      when p_request ? f.name and pgdurable._has_type(p_request -> f.name, f.types) then p_request -> f.name
    end as value
  ) as s
  where f.echo = 'always'
    or f.echo = 'when sent' and s.value is not null;

  if coalesce(v_fields ->> 'model', '') = '' then
    v_fields := v_fields || jsonb_build_object('model', p_agent);
  end if;

  return case
    when v_fields -> 'conversation' = '""' then v_fields - 'conversation'
    when jsonb_typeof(v_fields -> 'conversation') = 'string'
    then v_fields || jsonb_build_object('conversation', jsonb_build_object('id', v_fields -> 'conversation'))
    else v_fields
  end;
end;
$$;
