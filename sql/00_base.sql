/*
 * base: the schema, the clock, ids, refusals, and the shape of a lifecycle event.
 *
 *   status     none
 *   called by  every other file
 *   locks      nothing
 *   notifies   nobody
 *   raises     PD001 not_found (_refuse_not_found), PD002 lease_lost (_refuse_lost); _refuse raises what
 *              it is told to
 */
do $$
begin
  -- `if not exists` would ask for CREATE on the database even where the schema is there.
  if to_regnamespace('pgdurable') is null then
    create schema pgdurable;
    comment on schema pgdurable is
      'Responses that outlive their workers; response_overview lists them.';
  end if;
end;
$$;

/*
 * The only clock. Volatile on purpose: a function reads it once, after it holds
 * its row locks. The test suite replaces this one function to move time.
 */
create or replace function pgdurable.now()
returns timestamptz
language plpgsql
volatile
set search_path = ''
as $$
begin
  return pg_catalog.clock_timestamp();
end;
$$;

comment on function pgdurable.now() is
  'The only clock of the engine.';

/* The prefix that every id made at or after this time is greater than or equal to. */
create or replace function pgdurable._first_response_id(p_at timestamptz)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return 'resp_' || lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0');
end;
$$;

/* resp_ and 32 hex digits of a UUIDv7: 48 bits of milliseconds, then random bits. */
create or replace function pgdurable.new_response_id()
returns text
language sql
volatile
set search_path = ''
as $$
  select pgdurable._first_response_id(pgdurable.now())
    || '7' || substr(r.hex, 14, 3) || substr(r.hex, 17, 16)
  from (select replace(pg_catalog.gen_random_uuid()::text, '-', '') as hex) as r;
$$;

comment on function pgdurable.new_response_id() is
  'A new, time-ordered response id.';

/* Seconds since 1970, as the Responses API writes its times. */
create or replace function pgdurable._epoch(p_at timestamptz)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
  return floor(extract(epoch from p_at))::bigint;
end;
$$;

create or replace function pgdurable._refuse(p_sqlstate text, p_message text, p_hint text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  raise exception using errcode = p_sqlstate, message = p_message, hint = p_hint;
end;
$$;

create or replace function pgdurable._refuse_not_found(p_response_id text)
returns void
language sql
set search_path = ''
as $$
  select pgdurable._refuse(
    'PD001',
    'Response with id ''' || coalesce(p_response_id, '') || ''' not found.',
    'select * from pgdurable.response_overview lists the responses, and whose (p_principal).'
  );
$$;

create or replace function pgdurable._refuse_lost(p_response_id text, p_attempt integer)
returns void
language sql
set search_path = ''
as $$
  select pgdurable._refuse(
    'PD002',
    'Attempt ' || p_attempt || ' of response ''' || p_response_id || ''' does not hold the lease.',
    'select * from pgdurable.attempts where response_id = ... shows who does.'
  );
$$;

/*
 * A lifecycle event, spliced from text. p_fields is requests.fields: what the
 * response object echoes of the request. Nothing here parses JSON, because a
 * U+0000 anywhere in the request would make parsing fail. p_background comes behind
 * them: release 0.1.0 stored it as one of them, and of equal keys the last one counts.
 * Null is for a call of that release that has waited for the migration.
 */
create or replace function pgdurable._lifecycle_event(
  p_type               text,
  p_response_id        text,
  p_created_at         timestamptz,
  p_status             text,
  p_attempt            integer,
  p_fields             json,
  p_error              json default null,
  p_incomplete_details json default null,
  p_output             json default null,
  p_background         boolean default null
)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    '{"type":"' || p_type
    || '","response":{"id":"' || p_response_id
    || '","object":"response","created_at":' || pgdurable._epoch(p_created_at)
    || ',"status":"' || p_status
    || '","attempt_number":' || p_attempt
    || ',"error":' || coalesce(p_error::text, 'null')
    || ',"incomplete_details":' || coalesce(p_incomplete_details::text, 'null')
    || ',"output":' || coalesce(p_output::text, '[]')
    || case when p_fields::text = '{}' then '' else ',' || substr(p_fields::text, 2, length(p_fields::text) - 2) end
    || coalesce(',"background":' || p_background, '')
    || '}}'
  )::json;
end;
$$;
