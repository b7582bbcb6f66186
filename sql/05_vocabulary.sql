/*
 * vocabulary: the words that Python and SQL share. Generated: change the Python modules that the
 * functions name, then run tests/sql/test_vocabulary.py with PGDURABLE_UPDATE_VOCABULARY=1.
 *
 *   status     none
 *   called by  13_enqueue_response.sql, 14_request.sql, 56_end.sql, 57_closing.sql
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */

/* What the server reads of a request, and what a response says of it: requests/fields.py. */
create or replace function pgdurable._request_fields()
returns table (
  n integer, name text, types text[], wanted text, default_value jsonb, echo text, is_checked boolean, is_required boolean
)
language sql
immutable
set search_path = ''
as $$
  values
    (1, 'input', array['string', 'array'], 'a string or a list', null, 'never', true, true),
    (2, 'stream', array['boolean'], 'a boolean', 'false'::jsonb, 'never', true, false),
    (3, 'background', array['boolean'], 'a boolean', 'false'::jsonb, 'never', true, false),
    (4, 'store', array['boolean'], 'a boolean', 'true'::jsonb, 'always', true, false),
    (5, 'metadata', array['object'], 'an object', '{}'::jsonb, 'always', true, false),
    (6, 'previous_response_id', array['string'], 'a string', null, 'always', true, false),
    (7, 'conversation', array['string', 'object'], 'a string or an object', null, 'when sent', false, false),
    (8, 'model', array['string'], 'a string', null, 'always', false, false),
    (9, 'instructions', array['string', 'array'], 'a string or a list', null, 'always', false, false),
    (10, 'max_output_tokens', array['integer'], 'an integer', null, 'always', false, false),
    (11, 'max_tool_calls', array['integer'], 'an integer', null, 'when sent', false, false),
    (12, 'parallel_tool_calls', array['boolean'], 'a boolean', 'true'::jsonb, 'always', false, false),
    (13, 'prompt', array['object'], 'an object', null, 'when sent', false, false),
    (14, 'prompt_cache_key', array['string'], 'a string', null, 'when sent', false, false),
    (15, 'reasoning', array['object'], 'an object', null, 'always', false, false),
    (16, 'safety_identifier', array['string'], 'a string', null, 'when sent', false, false),
    (17, 'service_tier', array['string'], 'a string', null, 'when sent', false, false),
    (18, 'temperature', array['number'], 'a number', null, 'always', false, false),
    (19, 'text', array['object'], 'an object', '{"format":{"type":"text"}}'::jsonb, 'always', false, false),
    (20, 'tool_choice', array['string', 'object'], 'a string or an object', '"auto"'::jsonb, 'always', false, false),
    (21, 'tools', array['array'], 'a list', '[]'::jsonb, 'always', false, false),
    (22, 'top_logprobs', array['integer'], 'an integer', null, 'when sent', false, false),
    (23, 'top_p', array['number'], 'a number', null, 'always', false, false),
    (24, 'truncation', array['string'], 'a string', '"disabled"'::jsonb, 'always', false, false),
    (25, 'user', array['string'], 'a string', null, 'always', false, false);
$$;

/* How a refusal calls a value of each type: requests/fields.py. */
create or replace function pgdurable._json_types()
returns table (
  type text, name text
)
language sql
immutable
set search_path = ''
as $$
  values
    ('null', 'null'),
    ('boolean', 'a boolean'),
    ('number', 'a number'),
    ('string', 'a string'),
    ('array', 'a list'),
    ('object', 'an object');
$$;

/* Where a request may name its conversation, best first: requests/fields.py. */
create or replace function pgdurable._conversation_paths()
returns table (
  n integer, path text[]
)
language sql
immutable
set search_path = ''
as $$
  values
    (1, array['custom_inputs', 'thread_id']),
    (2, array['custom_inputs', 'session_id']),
    (3, array['context', 'conversation_id']),
    (4, array['conversation', 'id']),
    (5, array['conversation']);
$$;

/* The event that ends a response, by its status: models.py. */
create or replace function pgdurable._terminal_types()
returns table (
  status text, type text
)
language sql
immutable
set search_path = ''
as $$
  values
    ('completed', 'response.completed'),
    ('failed', 'response.failed'),
    ('incomplete', 'response.incomplete'),
    ('cancelled', 'response.incomplete');
$$;

/* The parts that hold text, where they stand, how they end: envelope/kinds.py. */
create or replace function pgdurable._text_kinds()
returns table (
  holder text, part_type text, text_key text, done text, has_logprobs boolean
)
language sql
immutable
set search_path = ''
as $$
  values
    ('content', 'output_text', 'text', 'response.output_text.done', true),
    ('content', 'refusal', 'refusal', 'response.refusal.done', false),
    ('content', 'reasoning_text', 'text', 'response.reasoning_text.done', false),
    ('summary', 'summary_text', 'text', 'response.reasoning_summary_text.done', false);
$$;

/* The events that carry text, and where in the item it stands: envelope/kinds.py. */
create or replace function pgdurable._text_events()
returns table (
  type text, holder text, step text
)
language sql
immutable
set search_path = ''
as $$
  values
    ('response.content_part.added', 'content', 'opening'),
    ('response.content_part.done', 'content', 'closing'),
    ('response.reasoning_summary_part.added', 'summary', 'opening'),
    ('response.reasoning_summary_part.done', 'summary', 'closing'),
    ('response.output_text.annotation.added', 'content', 'annotation'),
    ('response.output_text.delta', 'content', 'delta'),
    ('response.output_text.done', 'content', 'done'),
    ('response.refusal.delta', 'content', 'delta'),
    ('response.refusal.done', 'content', 'done'),
    ('response.reasoning_text.delta', 'content', 'delta'),
    ('response.reasoning_text.done', 'content', 'done'),
    ('response.reasoning_summary_text.delta', 'summary', 'delta'),
    ('response.reasoning_summary_text.done', 'summary', 'done'),
    ('response.function_call_arguments.delta', 'arguments', 'delta'),
    ('response.function_call_arguments.done', 'arguments', 'done'),
    ('response.mcp_call_arguments.delta', 'arguments', 'delta'),
    ('response.mcp_call_arguments.done', 'arguments', 'done'),
    ('response.custom_tool_call_input.delta', 'input', 'delta'),
    ('response.custom_tool_call_input.done', 'input', 'done'),
    ('response.code_interpreter_call_code.delta', 'code', 'delta'),
    ('response.code_interpreter_call_code.done', 'code', 'done');
$$;
