/*
 * request: what is wrong with a request that a person enqueues. pgdurable/requests/parse.py says
 * it of a POST, in the same words; a test holds the two together.
 *
 *   status     none
 *   called by  enqueue_response
 *   locks      nothing
 *   notifies   nobody
 *   raises     22023 invalid_parameter_value
 */
create or replace function pgdurable._refuse_request(p_message text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgdurable._refuse(
    '22023', p_message, 'For example: {"input": "Ship order 1", "metadata": {"order": "1"}}'
  );
end;
$$;

create or replace function pgdurable._refuse_type(p_name text, p_wanted text, p_got jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgdurable._refuse_request(
    'Invalid type for ''' || p_name || ''': expected ' || p_wanted || ', but got '
    || (select t.name from pgdurable._json_types() as t where t.type = coalesce(jsonb_typeof(p_got), 'null')) || '.'
  );
end;
$$;

/* Is it of one of the types? An integer is a number without a fraction. */
create or replace function pgdurable._has_type(p_value jsonb, p_types text[])
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
  return jsonb_typeof(p_value) = any(p_types)
    or case when jsonb_typeof(p_value) = 'number' and 'integer' = any(p_types) then p_value::numeric % 1 = 0 else false end;
end;
$$;

/* What is wrong with its shape, with the type of a field or of an item, or with two fields together. */
create or replace function pgdurable._check_request(p_text text, p_request jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_wrong record;
begin
  if jsonb_typeof(p_request) is distinct from 'object' then
    perform pgdurable._refuse_request('The request body must be a JSON object.');
  elsif jsonb_path_exists(p_request, 'strict $.**{64} ? (@.type() == "object" || @.type() == "array")') then
    perform pgdurable._refuse_request('The request body is nested more than 64 levels deep.');
  end if;

  perform pgdurable._check_numbers(p_text);

  select f.name, f.wanted, s.value
  into v_wrong
  from pgdurable._request_fields() as f
  cross join lateral (select nullif(p_request -> f.name, 'null') as value) as s
  where f.is_checked
    and case when s.value is null then f.is_required else not pgdurable._has_type(s.value, f.types) end
  order by f.n
  limit 1;

  if v_wrong.value is not null then
    perform pgdurable._refuse_type(v_wrong.name, v_wrong.wanted, v_wrong.value);
  elsif v_wrong.name is not null then
    perform pgdurable._refuse_request('Missing required parameter: ''' || v_wrong.name || '''.');
  end if;

  if jsonb_typeof(p_request -> 'input') = 'array' then
    perform pgdurable._refuse_type('input[' || i.n - 1 || ']', 'an object', i.item)
    from jsonb_array_elements(p_request -> 'input') with ordinality as i (item, n)
    where jsonb_typeof(i.item) <> 'object';
  end if;

  if p_request -> 'store' = 'false' then
    perform pgdurable._refuse_request('A background response has to be stored: ''store'' must not be false.');
  end if;
end;
$$;

/*
 * Python holds integers of 64 bits and doubles, jsonb anything. Looked for in the text, because
 * 1e30 is an integer nowhere else but in jsonb. So many digits, or such an exponent, are rare.
 */
create or replace function pgdurable._check_numbers(p_text text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_number text;
begin
  if p_text !~ '[0-9]{19}|[eE][+]?[0-9]{3}' then
    return;
  end if;

  select n.found[1]
  into v_number
  from regexp_matches(
    regexp_replace(p_text, E'"([^"\\\\]|\\\\.)*"', '""', 'g'),
    '-?[0-9]+(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?', 'g'
  ) as n (found)
  where case
    when n.found[1] ~ '[.eE]' then abs(n.found[1]::numeric) >= 1.797693134862315808e308
    else n.found[1]::numeric not between -9223372036854775808 and 18446744073709551615
  end
  limit 1;

  if v_number is not null then
    perform pgdurable._refuse_request(
      'The number ' || left(v_number, 40) || ' in the request body does not fit 64 bits; send it as a string.'
    );
  end if;
end;
$$;

/* An id that POST does not take either: see MAX_ID_BYTES. */
create or replace function pgdurable._check_id(p_id text, p_name text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if octet_length(p_id) > 1024 then
    perform pgdurable._refuse_request('''' || p_name || ''' must be at most 1024 bytes long, without U+0000.');
  end if;
end;
$$;

/* What it points to has to be there, and to be the principal's. */
create or replace function pgdurable._check_references(p_principal text, p_previous text, p_input jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_item    record;
  v_ids     text[] := array[]::text[];
  v_unknown text;
begin
  for v_item in
    select 'input[' || i.n - 1 || '].id' as name, i.item -> 'id' as id
    from jsonb_array_elements(case jsonb_typeof(p_input) when 'array' then p_input else '[]' end)
      with ordinality as i (item, n)
    where i.item -> 'type' = '"item_reference"'
      or coalesce(i.item -> 'type', 'null') = 'null' and i.item <> '{}' and i.item - array['id', 'type'] = '{}'
    order by i.n
  loop
    if jsonb_typeof(v_item.id) is distinct from 'string' then
      perform pgdurable._refuse_type(v_item.name, 'a string', v_item.id);
    end if;
    perform pgdurable._check_id(v_item.id #>> '{}', v_item.name);
    v_ids := v_ids || (v_item.id #>> '{}');
  end loop;

  if p_previous is null and v_ids = '{}' then
    return;
  end if;

  select u.id
  into v_unknown
  from pgdurable.unknown_references(p_principal, array_remove(array[p_previous], null), v_ids) as u (id)
  limit 1;

  if v_unknown = p_previous then
    perform pgdurable._refuse_request('Previous response with id ''' || v_unknown || ''' not found.');
  elsif v_unknown is not null then
    perform pgdurable._refuse_request('Item with id ''' || v_unknown || ''' not found.');
  end if;
end;
$$;
