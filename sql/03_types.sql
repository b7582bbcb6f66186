/*
 * types: the rows that functions answer with. Dropped and made again whenever the
 * functions are, so that a result may gain a column without a migration; what
 * depends on them are functions of later files, which follow at once.
 *
 *   status     none
 *   called by  schema.migrate
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */
drop type if exists pgdurable.enqueued_response cascade;
create type pgdurable.enqueued_response as (
  response_id text,
  outcome     text,         -- created, existing (same key and request), conflict (same key, other request)
  event       json          -- event 0, when created
);

drop type if exists pgdurable.claimed_response cascade;
create type pgdurable.claimed_response as (
  response_id          text,
  attempt              integer,
  status               text,      -- in_progress; or terminal, when a takeover ended it
  last_seq             bigint,    -- of the event below
  event_type           text,
  event                json,      -- what this claim or takeover wrote last
  principal            text,
  created_at           bigint,    -- seconds since 1970
  conversation_id      text,      -- the current one: rotated, aliased, or the base
  base_conversation_id text,      -- as the client sent it
  request              json,
  fields               json,
  resumed              boolean,   -- earlier attempts left events
  deadline_at          timestamptz
);

drop type if exists pgdurable.write_result cascade;
create type pgdurable.write_result as (
  response_id text,
  outcome     text,         -- ok, cancel (written, and the client asks to stop), lost (nothing written)
  last_seq    bigint
);

drop type if exists pgdurable.lease_result cascade;
create type pgdurable.lease_result as (
  response_id text,
  attempt     integer,
  outcome     text          -- ok, cancel, lost, busy (somebody holds the row: ask again)
);

drop type if exists pgdurable.stored_event cascade;
create type pgdurable.stored_event as (
  response_id text,
  seq         bigint,
  attempt     integer,
  type        text,
  body        json
);

drop type if exists pgdurable.response_snapshot cascade;
create type pgdurable.response_snapshot as (
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
);

drop type if exists pgdurable.stored_item cascade;
create type pgdurable.stored_item as (
  item_id     text,
  response_id text,
  event       json          -- its response.output_item.done
);

drop type if exists pgdurable.chain_link cascade;
create type pgdurable.chain_link as (
  response_id text,
  status      text,
  request     json,
  terminal    json          -- null while it runs
);

drop type if exists pgdurable.conversation cascade;
create type pgdurable.conversation as (
  base_conversation_id    text,
  current_conversation_id text,
  active_response_id      text,      -- the newest response of it that is queued or in progress
  latest_response_id      text,
  rotations               json       -- [{conversation_id, response_id, attempt, at}], oldest first
);

drop type if exists pgdurable.listed_response cascade;
create type pgdurable.listed_response as (
  response_id text,
  status      text,
  attempt     integer,
  background  boolean,
  created_at  bigint,       -- seconds since 1970
  fields      json,
  terminal    json
);
