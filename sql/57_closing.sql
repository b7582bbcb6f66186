/*
 * closing: what an attempt that is gone had opened is closed for it, with what was streamed
 * of it. The twin of envelope.orphans, for where no handler runs again, and the one place
 * where stored bodies are parsed.
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
  select coalesce(max(c.seq), v_last_seq) into v_last_seq from closed as c;

  return v_last_seq;
end;
$$;

/*
 * An output_item.added event -> the output_item.done that closes it as incomplete.
 * Null where there is no item, or Postgres cannot take it apart (U+0000, a lone
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

/*
 * What closes an item: the ends of its open parts, as the envelope writes them, then
 * p_bare, which _incomplete_item made, with the text so far put in. p_bare alone where
 * Postgres cannot take apart what was streamed.
 */
create or replace function pgdurable._closing_events(p_response_id text, p_added_seq bigint, p_bare json)
returns table (type text, body json)
language plpgsql
stable
set search_path = ''
as $$
declare
  v_index  text := '"output_index":' || (p_bare ->> 'output_index');
  v_types  text[];
  v_bodies text[];
begin
  with parts as materialized (
    select p.*,
      concat('"item_id":', p_bare #> '{item,id}', ',', v_index, ',"', p.holder, '_index":', p.n) as place,
      case when p.closed or p.done is null then p.part::text
      else concat('{"type":', p.part -> 'type', ',"', p.text_key, '":', p.text, p.more, '}') end as final
    from pgdurable._streamed_parts(p_response_id, p_added_seq, p_bare #>> '{item,id}') as p
  ),
  filled as (
    select p.holder, coalesce('[' || string_agg(p.final, ',' order by p.n) || ']', min(p.text)) as value
    from parts as p
    group by p.holder
  ),
  ends as (
    select
      p.holder, p.n, 1 as step, p.done as type,
      concat(p.place, ',"', p.text_key, '":', p.text, case when p.more <> '' then ',"logprobs":[]' end) as fields
    from parts as p
    where p.done is not null and not p.ended
    union all
    select p.holder, p.n, 2, p.closing, p.place || ',"part":' || p.final
    from parts as p
    where p.part is not null and not p.closed
    union all
    select null, null, 3, p_bare ->> 'type', v_index || ',"item":{'
      || string_agg(
        to_json(coalesce(i.key, f.holder))::text || ':' || coalesce(f.value, i.value::text), ',' order by i.n
      ) || '}'
    from json_each(p_bare -> 'item') with ordinality as i (key, value, n)
    full join filled as f on f.holder = i.key
  )
  select
    array_agg(e.type order by e.holder desc nulls last, e.n, e.step),
    array_agg('{"type":"' || e.type || '",' || e.fields || '}' order by e.holder desc nulls last, e.n, e.step)
  into v_types, v_bodies
  from ends as e;

  return query select t.type, t.body::json from unnest(v_types, v_bodies) as t (type, body);
exception
  when data_exception or program_limit_exceeded then
    return query select 'response.output_item.done', p_bare;
end;
$$;

/*
 * What was streamed of an item, by part; of a call, its arguments, input or code. Texts
 * and annotations are joined as they stand, escapes included.
 */
create or replace function pgdurable._streamed_parts(p_response_id text, p_added_seq bigint, p_item_id text)
returns table (
  holder text, n integer, part json, closing text, done text, text_key text, text text, more text,
  ended boolean, closed boolean
)
language sql
stable
set search_path = ''
as $$
  with said as materialized (
    select
      v.holder, v.step, e.seq, e.body, (e.body -> 'delta')::text as delta,
      coalesce(e.body ->> 'content_index', e.body ->> 'summary_index', '0')::integer as n
    from pgdurable.events as e
    join pgdurable._text_events() as v on v.type = e.type
    where e.response_id = p_response_id
      and e.seq > p_added_seq
      and e.body ->> 'item_id' = p_item_id
  ),
  joined as (
    select
      s.holder, s.n,
      (array_agg(s.body -> 'part' order by s.seq desc) filter (where s.step in ('opening', 'closing')))[1] as part,
      (array_agg((s.body -> s.holder)::text) filter (where s.step = 'done'))[1] as ended_as,
      '"' || coalesce(string_agg(substr(s.delta, 2, length(s.delta) - 2), '' order by s.seq), '') || '"' as text,
      ',"annotations":[' || coalesce(string_agg((s.body -> 'annotation')::text, ',' order by s.seq), '') || ']' as more,
      bool_or(s.step in ('done', 'closing')) as ended,
      bool_or(s.step = 'closing') as closed
    from said as s
    group by s.holder, s.n
  )
  select
    j.holder, j.n, j.part, c.type, k.done, k.text_key, coalesce(j.ended_as, j.text),
    case when k.has_logprobs then j.more else '' end, j.ended, j.closed
  from joined as j
  left join pgdurable._text_kinds() as k on k.holder = j.holder and k.part_type = j.part ->> 'type'
  left join pgdurable._text_events() as c on c.holder = j.holder and c.step = 'closing';
$$;
