/*
 * items: what an attempt that is gone had opened and closed, for a response that
 * ends without a handler. The one place where stored bodies are parsed.
 *
 *   status     unchanged
 *   called by  _end_without_handler, which holds the responses row
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * Close what was opened and never closed: each such item ends as incomplete, with
 * what was streamed of it. One that cannot be parsed stays open rather than keeping
 * the response from ending. Answers the last seq written.
 */
create or replace function pgdurable._close_open_items(p_response_id text, p_now timestamptz)
returns bigint
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_last_seq bigint;
  v_attempt  integer;
begin
  select r.last_seq, r.attempt
  into v_last_seq, v_attempt
  from pgdurable.responses as r
  where r.response_id = p_response_id;

  with added as materialized (
    select a.seq, pgdurable._incomplete_item(a.body) as event
    from pgdurable.events as a
    where a.response_id = p_response_id
      and a.type = 'response.output_item.added'
  ),
  closed as (
    insert into pgdurable.events as e (response_id, seq, attempt, type, item_id, body, created_at)
    select
      p_response_id, v_last_seq + row_number() over (order by a.seq, c.n), v_attempt, c.type,
      case when c.type = 'response.output_item.done' then a.event #>> '{item,id}' end, c.body, p_now
    from added as a
    cross join lateral pgdurable._closing_events(p_response_id, a.seq, a.event)
      with ordinality as c (type, body, n)
    where a.event is not null
      and not exists (
        select
        from pgdurable.events as d
        where d.response_id = p_response_id
          and d.type = 'response.output_item.done'
          and d.item_id = a.event #>> '{item,id}'
      )
    returning e.seq
  )
  select coalesce(max(c.seq), v_last_seq) into v_last_seq
  from closed as c;

  return v_last_seq;
end;
$$;

/*
 * An output_item.added event -> the output_item.done that closes it as incomplete.
 * Null where there is no item, or none that Postgres can take apart (U+0000, a lone
 * surrogate, too deep). As json, values are copied as they stand: 1e400000 is fine.
 */
create or replace function pgdurable._incomplete_item(p_added json)
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
  v_item json := pgdurable._item_of(p_added);
begin
  return (
    select
      '{"type":"response.output_item.done","output_index":' || (p_added ->> 'output_index')
      || ',"item":{' || string_agg(to_json(f.key)::text || ':' || f.value::text, ',') || ',"status":"incomplete"}}'
    from json_each(v_item) as f
    where f.key <> 'status'
    having bool_or(f.key = 'id')
  )::json;
exception
  when data_exception or program_limit_exceeded then
    return null;
end;
$$;

/* The item in an output_item event, null where Postgres cannot parse it. */
create or replace function pgdurable._item_of(p_body json)
returns json
language plpgsql
stable
set search_path = ''
as $$
begin
  return p_body -> 'item';
exception
  when data_exception or program_limit_exceeded then
    return null;
end;
$$;

/* The items that this attempt closed, as a JSON array on one line, in the order in which they were opened. */
create or replace function pgdurable._closed_items(p_response_id text, p_attempt integer)
returns json
language sql
stable
as $$
  select ('[' || coalesce(string_agg(
    pgdurable._item_of(e.body)::text, ',' order by substring(e.body::text, '"output_index":(\d{1,9})')::integer, e.seq
  ), '') || ']')::json
  from pgdurable.events as e
  where e.response_id = p_response_id
    and e.attempt = p_attempt
    and e.type = 'response.output_item.done';
$$;
