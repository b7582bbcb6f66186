/*
 * types: the rows that functions answer with. One whose columns have changed is made
 * anew, and with it go the functions that answer it; later files make them again. One
 * that has not changed is left alone: dropping it would fail calls that are running.
 *
 *   status     none
 *   called by  schema.migrate
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */
create or replace function pgdurable._make_type(p_name text, p_columns text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute format('create type pgdurable._wanted_type as (%s)', p_columns);

  if pgdurable._columns_of(p_name) is distinct from pgdurable._columns_of('_wanted_type') then
    execute format('drop type if exists pgdurable.%I cascade', p_name);
    execute format('alter type pgdurable._wanted_type rename to %I', p_name);
  else
    drop type pgdurable._wanted_type;
  end if;
end;
$$;

create or replace function pgdurable._columns_of(p_type text)
returns text
language sql
stable
set search_path = ''
as $$
  select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
  from pg_catalog.pg_attribute as a
  where a.attrelid = to_regclass('pgdurable.' || quote_ident(p_type))
    and not a.attisdropped;
$$;

select pgdurable._make_type('enqueued_response', $$
  response_id text,
  outcome     text,         -- created, existing (same key and request), conflict (same key, other request)
  event       json          -- event 0, when created
$$);

select pgdurable._make_type('claimed_response', $$
  response_id          text,
  attempt              integer,
  status               text,      -- in_progress
  last_seq             bigint,    -- of the event below; where it is null, of the last one there is
  event_type           text,
  event                json,      -- what this claim or takeover wrote; null where restarted
  principal            text,
  created_at           bigint,    -- seconds since 1970
  conversation_id      text,      -- the current one: rotated, aliased, or the base
  base_conversation_id text,      -- as the client sent it
  request              json,
  fields               json,
  background           boolean,
  resumed              boolean,   -- earlier attempts left events: response.resumed tells readers
  restarted            boolean,   -- they did, and the handler starts over, unseen by readers
  deadline_at          timestamptz,
  suspect_cap          integer,   -- how many responses its worker may run in all; null: any number
  suspect_for          interval   -- until this attempt has lived so long
$$);

select pgdurable._make_type('write_result', $$
  response_id text,
  outcome     text,         -- ok, cancel (written, and the client asks to stop), lost (nothing written)
  last_seq    bigint
$$);

select pgdurable._make_type('lease_result', $$
  response_id text,
  attempt     integer,
  outcome     text          -- ok, cancel, lost, busy (somebody holds the row: ask again)
$$);

select pgdurable._make_type('stored_event', $$
  response_id text,
  seq         bigint,
  attempt     integer,
  type        text,
  body        json
$$);

select pgdurable._make_type('response_snapshot', $$
  response_id     text,
  principal       text,
  status          text,
  attempt         integer,
  last_seq        bigint,
  background      boolean,
  store           boolean,
  created_at      bigint,    -- seconds since 1970
  conversation_id text,
  fields          json,
  terminal        json,      -- the terminal event, once there is one
  items           json[]     -- until then: output_item.done events of the current attempt
$$);

select pgdurable._make_type('stored_item', $$
  item_id     text,
  response_id text,
  event       json          -- its response.output_item.done
$$);

select pgdurable._make_type('chain_link', $$
  response_id text,
  status      text,
  request     json,
  terminal    json          -- null while it runs
$$);

select pgdurable._make_type('conversation', $$
  base_conversation_id    text,
  current_conversation_id text,
  active_response_id      text,      -- the newest response of it that is queued or in progress
  latest_response_id      text,
  rotations               json       -- [{conversation_id, response_id, attempt, at}], oldest first
$$);

select pgdurable._make_type('listed_response', $$
  response_id text,
  status      text,
  attempt     integer,
  background  boolean,
  created_at  bigint,       -- seconds since 1970
  fields      json,
  terminal    json
$$);
