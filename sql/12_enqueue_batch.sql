/*
 * enqueue, the two doors: many at once for the server, one for a person.
 *
 *   status     -> queued
 *   called by  server (enqueue_responses); people (enqueue_response)
 *   locks      idempotency_keys rows in (principal, key) order
 *   notifies   enqueue_response: pgdurable_work; enqueue_responses: nobody, its caller wakes after commit
 *   raises     PD004 idempotency_conflict (enqueue_response), 22023 invalid_parameter_value
 */

/* A line too many, and all that follow it would go to the wrong responses. */
create or replace function pgdurable._a_line_each(p_name text, p_lines text, p_response_ids text[])
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_lines text[] := string_to_array(p_lines, E'\n');
begin
  if cardinality(v_lines) is distinct from cardinality(p_response_ids) then
    perform pgdurable._refuse(
      '22023',
      p_name || ' has ' || coalesce(cardinality(v_lines), 0) || ' lines for '
        || coalesce(cardinality(p_response_ids), 0) || ' responses.',
      'It holds one line per response: compact JSON, without raw newlines.'
    );
  end if;

  return v_lines;
end;
$$;

/*
 * p_requests, p_fields and p_metadata are newline-joined JSON, one line per
 * response: handing rows over as text is several times faster than as arrays,
 * and compact JSON never holds a raw newline. Calling it again with the same ids
 * changes nothing, so an ambiguous commit can be repeated.
 */
create or replace function pgdurable.enqueue_responses(
  p_response_ids          text[],
  p_principals            text[],
  p_conversation_ids      text[],
  p_previous_response_ids text[],
  p_idempotency_keys      text[],
  p_background            boolean[],
  p_store                 boolean[],
  p_metadata              text,
  p_requests              text,
  p_fields                text,
  p_queue                 text default 'default',
  p_agent                 text default 'agent',
  p_max_attempts          integer default 3,
  p_deadline              interval default null
)
returns setof pgdurable.enqueued_response
language plpgsql
set search_path = ''
as $$
begin
  return query
  select e.*
  from pgdurable._enqueue(
    p_response_ids, p_principals, p_conversation_ids, p_previous_response_ids, p_idempotency_keys,
    pgdurable._a_line_each('p_metadata', p_metadata, p_response_ids),
    pgdurable._a_line_each('p_requests', p_requests, p_response_ids),
    pgdurable._a_line_each('p_fields', p_fields, p_response_ids),
    p_background, p_store, p_queue, p_agent, 0, p_max_attempts, interval '0', p_deadline
  ) as e;
end;
$$;

comment on function pgdurable.enqueue_responses is
  'Enqueue many responses in one call; answers created, existing or conflict for each.';

/*
 * One response, for a person or for a transaction of the caller's own: it exists
 * if and when that commits. The request is read as jsonb, so U+0000 is refused.
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
  v_request  jsonb := p_request::jsonb;
  v_agent    text := coalesce(p_agent, pgdurable._agent_of(p_queue));
  v_enqueued pgdurable.enqueued_response;
begin
  if jsonb_typeof(v_request) <> 'object'
    or jsonb_typeof(coalesce(nullif(v_request -> 'metadata', 'null'), '{}')) <> 'object' then
    perform pgdurable._refuse(
      '22023',
      'A request is a JSON object, and so is its metadata.',
      'For example: {"input": "Ship order 1", "metadata": {"order": "1"}}'
    );
  end if;

  select e.*
  into v_enqueued
  from pgdurable._enqueue(
    array[pgdurable.new_response_id()],
    array[p_principal],
    array[coalesce(p_conversation_id, pgdurable._conversation_anchor(v_request))],
    array[v_request ->> 'previous_response_id'],
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

/* The conversation a request belongs to; requests.conversation_anchor is its twin. */
create or replace function pgdurable._conversation_anchor(p_request jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
  select coalesce(
    nullif(p_request #>> '{custom_inputs,thread_id}', ''),
    nullif(p_request #>> '{custom_inputs,session_id}', ''),
    nullif(p_request #>> '{context,conversation_id}', ''),
    nullif(case jsonb_typeof(p_request -> 'conversation')
      when 'string' then p_request ->> 'conversation'
      when 'object' then p_request #>> '{conversation,id}'
    end, '')
  );
$$;

/* What the response object of a request enqueued by hand echoes. */
create or replace function pgdurable._response_fields(p_request jsonb, p_agent text)
returns jsonb
language sql
immutable
set search_path = ''
as $$
  select jsonb_build_object(
      'background', true,
      'instructions', null,
      'metadata', '{}'::jsonb,
      'model', p_agent,
      'parallel_tool_calls', true,
      'previous_response_id', null,
      'tool_choice', 'auto',
      'tools', '[]'::jsonb
    )
    || coalesce(
      (
        select jsonb_object_agg(f.key, f.value)
        from jsonb_each(p_request) as f
        where f.value <> 'null'
          and f.key in (
            'conversation', 'instructions', 'max_output_tokens', 'metadata', 'model', 'parallel_tool_calls',
            'previous_response_id', 'reasoning', 'temperature', 'text', 'tool_choice', 'tools', 'top_p',
            'truncation', 'user'
          )
      ),
      '{}'
    );
$$;
