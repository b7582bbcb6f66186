/*
 * enqueue batch: many at once, as the server does, which has checked the requests.
 *
 *   status     -> queued
 *   called by  server
 *   locks      idempotency_keys rows in (principal, key) order
 *   notifies   nobody: the caller wakes after commit
 *   raises     22023 invalid_parameter_value
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
