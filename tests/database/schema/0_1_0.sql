-- The schema of pgdurable 0.1.0, as its own migrator printed it, without comments.

do $$
begin
  if to_regnamespace('pgdurable') is null then
    create schema pgdurable;
    comment on schema pgdurable is
      'Responses that outlive their workers; response_overview lists them.';
  end if;
end;
$$;
create or replace function pgdurable.now()
returns timestamptz
language sql
volatile
as $$
  select pg_catalog.clock_timestamp();
$$;
comment on function pgdurable.now() is
  'The only clock of the engine.';
create or replace function pgdurable._first_response_id(p_at timestamptz)
returns text
language sql
stable
as $$
  select 'resp_' || lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0');
$$;
create or replace function pgdurable.new_response_id()
returns text
language sql
volatile
as $$
  select pgdurable._first_response_id(pgdurable.now())
    || '7' || substr(r.hex, 14, 3) || substr(r.hex, 17, 16)
  from (select replace(pg_catalog.gen_random_uuid()::text, '-', '') as hex) as r;
$$;
comment on function pgdurable.new_response_id() is
  'A new, time-ordered response id.';
create or replace function pgdurable._epoch(p_at timestamptz)
returns bigint
language sql
stable
as $$
  select floor(extract(epoch from p_at))::bigint;
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
as $$
  select pgdurable._refuse(
    'PD002',
    'Attempt ' || p_attempt || ' of response ''' || p_response_id || ''' does not hold the lease.',
    'select * from pgdurable.attempts where response_id = ... shows who does.'
  );
$$;
create or replace function pgdurable._lifecycle_event(
  p_type               text,
  p_response_id        text,
  p_created_at         timestamptz,
  p_status             text,
  p_attempt            integer,
  p_fields             json,
  p_error              json default null,
  p_incomplete_details json default null,
  p_output             json default null
)
returns json
language sql
stable
as $$
  select (
    '{"type":"' || p_type
    || '","response":{"id":"' || p_response_id
    || '","object":"response","created_at":' || pgdurable._epoch(p_created_at)
    || ',"status":"' || p_status
    || '","attempt_number":' || p_attempt
    || ',"error":' || coalesce(p_error::text, 'null')
    || ',"incomplete_details":' || coalesce(p_incomplete_details::text, 'null')
    || ',"output":' || coalesce(p_output::text, '[]')
    || case when p_fields::text = '{}' then '' else ',' || substr(p_fields::text, 2, length(p_fields::text) - 2) end
    || '}}'
  )::json;
$$;
create table if not exists pgdurable.schema_migrations (
  version    integer not null,
  name       text not null,
  applied_at timestamptz not null,
  constraint schema_migrations_pkey
    primary key (version)
);
comment on table pgdurable.schema_migrations is
  'The numbered table changes this database has.';
create table if not exists pgdurable.schema_files (
  name       text not null,
  checksum   text not null,
  release    text not null,
  applied_at timestamptz not null,
  constraint schema_files_pkey
    primary key (name)
);
comment on table pgdurable.schema_files is
  'The sql files that made the functions, and the release that applied them last.';
create table pgdurable.responses (
  response_id         text collate "C" not null,
  principal           text collate "C" not null default '',
  queue               text collate "C" not null default 'default',
  agent               text not null default 'agent',
  status              text not null default 'queued',
  attempt             integer not null default 0,
  failed_attempts     integer not null default 0,
  max_attempts        integer not null default 3,
  last_seq            bigint not null default 0,
  worker_id           text collate "C",
  lease_expires_at    timestamptz,
  deadline_at         timestamptz,
  available_at        timestamptz not null,
  priority            integer not null default 0,
  cancel_requested_at timestamptz,
  retried_from        text collate "C",
  conversation_id     text collate "C",
  background          boolean not null default true,
  store               boolean not null default true,
  created_at          timestamptz not null,
  started_at          timestamptz,
  finished_at         timestamptz,
  constraint responses_pkey primary key (response_id),
  constraint response_id_is_well_formed check (response_id ~ '^resp_[0-9a-f]{32}$'),
  constraint status_is_known
    check (status in ('queued', 'in_progress', 'completed', 'failed', 'cancelled', 'incomplete')),
  constraint leased_exactly_while_in_progress
    check ((status = 'in_progress') = (lease_expires_at is not null)),
  constraint owned_exactly_while_in_progress
    check ((status = 'in_progress') = (worker_id is not null)),
  constraint finished_exactly_when_terminal
    check ((status in ('completed', 'failed', 'cancelled', 'incomplete')) = (finished_at is not null)),
  constraint attempted_before_in_progress
    check (status <> 'in_progress' or (attempt >= 1 and started_at is not null)),
  constraint failed_attempts_were_attempts check (failed_attempts between 0 and attempt),
  constraint max_attempts_is_positive check (max_attempts >= 1),
  constraint last_seq_is_never_negative check (last_seq >= 0)
)
with (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0
);
create index responses_claimable_idx
on pgdurable.responses (queue, priority desc, available_at, response_id)
where status = 'queued';
create index responses_in_progress_idx on pgdurable.responses (response_id) where status = 'in_progress';
create index responses_deadline_idx on pgdurable.responses (deadline_at)
where finished_at is null and deadline_at is not null;
create index responses_unstored_idx on pgdurable.responses (response_id) where not store;
create index responses_principal_idx on pgdurable.responses (principal, response_id);
create index responses_conversation_idx
on pgdurable.responses (principal, conversation_id, response_id)
where conversation_id is not null;
comment on table pgdurable.responses is
  'One row per response: its status, its lease, and the fence (response_id, attempt).';
comment on column pgdurable.responses.attempt is
  'Grows by one at every claim and takeover, never goes back: the fencing token.';
comment on column pgdurable.responses.failed_attempts is
  'Attempts whose worker went silent; max_attempts bounds these, released ones do not count.';
comment on column pgdurable.responses.conversation_id is
  'The base conversation id as the client sent it, null where it sent none.';
create table pgdurable.requests (
  response_id          text collate "C" not null,
  body                 json not null,
  fields               json not null,
  metadata             jsonb not null default '{}',
  previous_response_id text collate "C",
  constraint requests_pkey primary key (response_id),
  constraint request_belongs_to_a_response
    foreign key (response_id) references pgdurable.responses (response_id) on delete cascade
);
create index requests_metadata_idx on pgdurable.requests using gin (metadata jsonb_path_ops)
where metadata <> '{}';
comment on table pgdurable.requests is
  'The request as it was sent (body) and what its response object echoes of it (fields).';
create table pgdurable.events (
  response_id text collate "C" not null,
  seq         bigint not null,
  attempt     integer not null,
  type        text not null,
  item_id     text collate "C",
  body        json not null,
  created_at  timestamptz not null,
  constraint events_pkey primary key (response_id, seq)
)
with (autovacuum_vacuum_insert_scale_factor = 0.2);
create index events_item_idx on pgdurable.events (item_id) where item_id is not null;
comment on table pgdurable.events is
  'Every event of every response, gapless from seq 0; the last one is terminal.';
comment on column pgdurable.events.item_id is
  'Set on response.output_item.done only, so that a closed item is found without reading bodies.';
create table pgdurable.attempts (
  response_id     text collate "C" not null,
  attempt         integer not null,
  worker_id       text collate "C" not null,
  reason          text not null,
  resumed         boolean not null,
  conversation_id text collate "C" not null,
  started_at      timestamptz not null,
  ended_at        timestamptz,
  outcome         text,
  constraint attempts_pkey primary key (response_id, attempt),
  constraint attempt_belongs_to_a_response
    foreign key (response_id) references pgdurable.responses (response_id) on delete cascade,
  constraint reason_is_known check (reason in ('claim', 'takeover', 'release')),
  constraint outcome_is_known
    check (outcome in ('completed', 'failed', 'cancelled', 'incomplete', 'lost', 'released')),
  constraint outcome_exactly_when_ended check ((ended_at is null) = (outcome is null))
);
comment on table pgdurable.attempts is
  'One row per attempt: which worker ran it, why, and how it ended.';
comment on column pgdurable.attempts.resumed is
  'Did earlier attempts leave events? Then it runs on a rotated conversation.';
create table pgdurable.conversation_aliases (
  principal               text collate "C" not null,
  base_conversation_id    text collate "C" not null,
  current_conversation_id text collate "C" not null,
  response_id             text collate "C" not null,
  updated_at              timestamptz not null,
  constraint conversation_aliases_pkey primary key (principal, base_conversation_id)
);
comment on table pgdurable.conversation_aliases is
  'The stable conversation id that clients send -> the id it was last rotated to.';
create table pgdurable.idempotency_keys (
  principal    text collate "C" not null,
  key          text collate "C" not null,
  request_hash text not null,
  response_id  text collate "C" not null,
  created_at   timestamptz not null,
  constraint idempotency_keys_pkey primary key (principal, key)
);
create index idempotency_keys_response_idx on pgdurable.idempotency_keys (response_id);
comment on table pgdurable.idempotency_keys is
  'Idempotency-Key -> the one response it made.';
create table pgdurable.workers (
  worker_id    text collate "C" not null,
  host         text not null,
  pid          integer not null,
  queues       text[] not null,
  concurrency  integer not null,
  version      text not null,
  started_at   timestamptz not null,
  last_seen_at timestamptz not null,
  stopped_at   timestamptz,
  constraint workers_pkey primary key (worker_id)
)
with (fillfactor = 70);
comment on table pgdurable.workers is
  'Worker processes, for people: where each runs and when it was last seen.';
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
as $$
  select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
  from pg_catalog.pg_attribute as a
  where a.attrelid = to_regclass('pgdurable.' || quote_ident(p_type))
    and not a.attisdropped;
$$;
select pgdurable._make_type('enqueued_response', $$
  response_id text,
  outcome     text,
  event       json
$$);
select pgdurable._make_type('claimed_response', $$
  response_id          text,
  attempt              integer,
  status               text,
  last_seq             bigint,
  event_type           text,
  event                json,
  principal            text,
  created_at           bigint,
  conversation_id      text,
  base_conversation_id text,
  request              json,
  fields               json,
  resumed              boolean,
  deadline_at          timestamptz
$$);
select pgdurable._make_type('write_result', $$
  response_id text,
  outcome     text,
  last_seq    bigint
$$);
select pgdurable._make_type('lease_result', $$
  response_id text,
  attempt     integer,
  outcome     text
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
  created_at      bigint,
  conversation_id text,
  fields          json,
  terminal        json,
  items           json[]
$$);
select pgdurable._make_type('stored_item', $$
  item_id     text,
  response_id text,
  event       json
$$);
select pgdurable._make_type('chain_link', $$
  response_id text,
  status      text,
  request     json,
  terminal    json
$$);
select pgdurable._make_type('conversation', $$
  base_conversation_id    text,
  current_conversation_id text,
  active_response_id      text,
  latest_response_id      text,
  rotations               json
$$);
select pgdurable._make_type('listed_response', $$
  response_id text,
  status      text,
  attempt     integer,
  background  boolean,
  created_at  bigint,
  fields      json,
  terminal    json
$$);
create or replace function pgdurable._idempotency_key(p_principal text, p_key text)
returns table (response_id text, request_hash text)
language sql
stable
as $$
  select k.response_id, k.request_hash
  from pgdurable.idempotency_keys as k
  where k.principal = p_principal
    and k.key = p_key
  order by k.created_at desc
  limit 1;
$$;
create or replace function pgdurable._enqueue(
  p_response_ids          text[],
  p_principals            text[],
  p_conversation_ids      text[],
  p_previous_response_ids text[],
  p_idempotency_keys      text[],
  p_metadata              text[],
  p_requests              text[],
  p_fields                text[],
  p_background            boolean[],
  p_store                 boolean[],
  p_queue                 text,
  p_agent                 text,
  p_priority              integer,
  p_max_attempts          integer,
  p_delay                 interval,
  p_deadline              interval,
  p_retried_from          text default null
)
returns setof pgdurable.enqueued_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now  timestamptz := pgdurable.now();
  v_keys record;
begin
  select k.*
  into v_keys
  from pgdurable._settle_idempotency_keys(p_principals, p_idempotency_keys, p_requests, p_response_ids, v_now) as k
  where array_remove(p_idempotency_keys, null) <> '{}';
  return query
  with wanted as materialized (
    select w.*, coalesce(w.key_owner, w.response_id) as owner_id
    from unnest(
      p_response_ids, p_principals, p_conversation_ids, p_previous_response_ids, v_keys.owner_ids,
      v_keys.request_hashes, p_metadata, p_requests, p_fields, p_background, p_store
    ) with ordinality as w (
      response_id, principal, conversation_id, previous_response_id, key_owner, request_hash,
      metadata, request, fields, background, store, n
    )
  ),
  made as (
    insert into pgdurable.responses as r (
      response_id, principal, queue, agent, max_attempts, deadline_at, available_at, priority,
      retried_from, conversation_id, background, store, created_at
    )
    select
      w.response_id, w.principal, p_queue, p_agent, p_max_attempts, v_now + p_deadline, v_now + p_delay,
      p_priority, p_retried_from, w.conversation_id, w.background, w.store, v_now
    from wanted as w
    where w.owner_id = w.response_id
    on conflict (response_id) do nothing
    returning r.response_id
  ),
  requested as (
    insert into pgdurable.requests (response_id, body, fields, metadata, previous_response_id)
    select w.response_id, w.request::json, w.fields::json, w.metadata::jsonb, w.previous_response_id
    from made as m join wanted as w on w.response_id = m.response_id
  ),
  logged as (
    insert into pgdurable.events as e (response_id, seq, attempt, type, body, created_at)
    select
      w.response_id, 0, 0, 'response.created',
      pgdurable._lifecycle_event('response.created', w.response_id, v_now, 'queued', 0, w.fields::json),
      v_now
    from made as m join wanted as w on w.response_id = m.response_id
    returning e.response_id, e.body
  )
  select
    w.owner_id,
    case
      when w.owner_id = w.response_id then 'created'
      when w.request_hash = pgdurable._request_hash(w.request) then 'existing'
      else 'conflict'
    end,
    l.body
  from wanted as w
  left join logged as l on l.response_id = w.response_id
  order by w.n;
end;
$$;
create or replace function pgdurable._request_hash(p_request text)
returns text
language sql
immutable
as $$
  select encode(sha256(convert_to(p_request, 'UTF8')), 'hex');
$$;
create or replace function pgdurable._settle_idempotency_keys(
  p_principals   text[],
  p_keys         text[],
  p_requests     text[],
  p_response_ids text[],
  p_now          timestamptz
)
returns table (owner_ids text[], request_hashes text[])
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_all_found boolean;
begin
  loop
    insert into pgdurable.idempotency_keys (principal, key, request_hash, response_id, created_at)
    select w.principal, w.key, pgdurable._request_hash(w.request), w.response_id, p_now
    from unnest(p_principals, p_keys, p_requests, p_response_ids)
      as w (principal, key, request, response_id)
    where w.key is not null
    order by w.principal, w.key
    on conflict (principal, key) do nothing;
    select
      array_agg(k.response_id order by w.n),
      array_agg(k.request_hash order by w.n),
      bool_and(w.key is null or k.response_id is not null)
    into owner_ids, request_hashes, v_all_found
    from unnest(p_principals, p_keys) with ordinality as w (principal, key, n)
    left join lateral pgdurable._idempotency_key(w.principal, w.key) as k on true;
    exit when v_all_found;
  end loop;
  return next;
end;
$$;
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
language sql
as $$
  select e.*
  from pgdurable._enqueue(
    p_response_ids, p_principals, p_conversation_ids, p_previous_response_ids, p_idempotency_keys,
    pgdurable._a_line_each('p_metadata', p_metadata, p_response_ids),
    pgdurable._a_line_each('p_requests', p_requests, p_response_ids),
    pgdurable._a_line_each('p_fields', p_fields, p_response_ids),
    p_background, p_store, p_queue, p_agent, 0, p_max_attempts, interval '0', p_deadline
  ) as e;
$$;
comment on function pgdurable.enqueue_responses is
  'Enqueue many responses in one call; answers created, existing or conflict for each.';
create or replace function pgdurable.enqueue_response(
  p_request         json,
  p_principal       text default '',
  p_queue           text default 'default',
  p_agent           text default 'agent',
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
    array[pgdurable._response_fields(v_request, p_agent)::text],
    array[true],
    array[true],
    p_queue, p_agent, p_priority, p_max_attempts, p_delay, p_deadline
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
create or replace function pgdurable._conversation_anchor(p_request jsonb)
returns text
language sql
immutable
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
create or replace function pgdurable._response_fields(p_request jsonb, p_agent text)
returns jsonb
language sql
immutable
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
create or replace function pgdurable.claim_responses(
  p_worker_id text,
  p_queues    text[],
  p_limit     integer,
  p_lease     interval
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := pgdurable.now();
  v_ids text[];
begin
  with due as materialized (
    select d.response_id
    from unnest(p_queues) as q (queue)
    cross join lateral (
      select r.response_id
      from pgdurable.responses as r
      where r.queue = q.queue
        and r.status = 'queued'
        and r.available_at <= v_now
        and (r.deadline_at is null or r.deadline_at > v_now)
      order by r.priority desc, r.available_at, r.response_id
      limit p_limit
      for no key update skip locked
    ) as d
    limit p_limit
  )
  select array_agg(d.response_id)
  into v_ids
  from due as d;
  if v_ids is not null then
    return query
    select b.*
    from pgdurable._begin_attempts(v_ids, p_worker_id, p_lease, 'claim') as b;
  end if;
end;
$$;
comment on function pgdurable.claim_responses is
  'Take the lease on up to p_limit queued responses of these queues.';
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
    select
      p.*,
      concat('"item_id":', p_bare #> '{item,id}', ',', v_index, ',"', p.holder, '_index":', p.n) as place,
      case when p.closed or p.family is null then p.part::text
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
      p.holder, p.n, 1 as step, p.family || '.done' as type,
      concat(p.place, ',"', p.text_key, '":', p.text, case when p.more <> '' then ',"logprobs":[]' end) as fields
    from parts as p
    where p.family is not null and not p.ended
    union all
    select p.holder, p.n, 2, p.part_family || '.done', p.place || ',"part":' || p.final
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
create or replace function pgdurable._streamed_parts(p_response_id text, p_added_seq bigint, p_item_id text)
returns table (
  holder text, n integer, part json, part_family text, family text, text_key text, text text, more text,
  ended boolean, closed boolean
)
language sql
stable
as $$
  with said as materialized (
    select
      e.seq, e.type, e.body, (e.body -> 'delta')::text as delta,
      coalesce(e.body ->> 'content_index', e.body ->> 'summary_index', '0')::integer as n,
      case
        when e.type ~ '^response\.(content_part|output_text|refusal|reasoning_text)\.' then 'content'
        when e.type ~ '^response\.reasoning_summary_(part|text)\.' then 'summary'
        else substring(e.type, '^response\.\w+_call_(arguments|input|code)\.')
      end as holder
    from pgdurable.events as e
    where e.response_id = p_response_id
      and e.seq > p_added_seq
      and e.body ->> 'item_id' = p_item_id
  ),
  joined as (
    select
      s.holder, s.n,
      (array_agg(s.body -> 'part' order by s.seq desc) filter (where s.type like '%\_part.%'))[1] as part,
      (array_agg((s.body -> s.holder)::text) filter (where s.type like '%.done'))[1] as ended_as,
      '"' || coalesce(string_agg(substr(s.delta, 2, length(s.delta) - 2), '' order by s.seq), '') || '"' as text,
      ',"annotations":[' || coalesce(string_agg((s.body -> 'annotation')::text, ',' order by s.seq), '') || ']' as more,
      bool_or(s.type like '%.done') as ended,
      bool_or(s.type like '%\_part.done') as closed
    from said as s
    where s.holder is not null
    group by s.holder, s.n
  )
  select
    j.holder, j.n, j.part,
    case j.holder when 'content' then 'response.content_part' else 'response.reasoning_summary_part' end,
    k.family, k.text_key, coalesce(j.ended_as, j.text), case k.kind when 'output_text' then j.more else '' end,
    j.ended, j.closed
  from joined as j
  left join (
    values
      ('output_text', 'response.output_text', 'text'), ('refusal', 'response.refusal', 'refusal'),
      ('reasoning_text', 'response.reasoning_text', 'text'),
      ('summary_text', 'response.reasoning_summary_text', 'text')
  ) as k (kind, family, text_key) on k.kind = j.part ->> 'type';
$$;
create or replace function pgdurable._begin_attempts(
  p_response_ids text[],
  p_worker_id    text,
  p_lease        interval,
  p_reason       text
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := pgdurable.now();
begin
  update pgdurable.responses as r
  set
    status = 'in_progress',
    attempt = r.attempt + 1,
    last_seq = r.last_seq + 1,
    worker_id = p_worker_id,
    lease_expires_at = v_now + p_lease,
    started_at = coalesce(r.started_at, v_now)
  where r.response_id = any(p_response_ids);
  perform pgdurable._place_attempts(p_response_ids, p_reason, v_now);
  return query
  with begun as materialized (
    select r.*, q.body, q.fields, a.resumed, a.conversation_id as current_conversation_id
    from pgdurable.responses as r
    join pgdurable.requests as q on q.response_id = r.response_id
    join pgdurable.attempts as a on a.response_id = r.response_id and a.attempt = r.attempt
    where r.response_id = any(p_response_ids)
      and q.response_id = any(p_response_ids)
      and a.response_id = any(p_response_ids)
  ),
  opened as materialized (
    select
      b.*,
      case when b.resumed then 'response.resumed' else 'response.in_progress' end as event_type,
      case
        when b.resumed then pgdurable._resumed_event(b.attempt, b.last_seq, b.current_conversation_id)
        else pgdurable._lifecycle_event(
          'response.in_progress', b.response_id, b.created_at, b.status, b.attempt, b.fields
        )
      end as event
    from begun as b
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select o.response_id, o.last_seq, o.attempt, o.event_type, o.event, v_now
    from opened as o
  )
  select
    o.response_id, o.attempt, o.status, o.last_seq, o.event_type, o.event, o.principal,
    pgdurable._epoch(o.created_at), o.current_conversation_id, o.conversation_id, o.body, o.fields,
    o.resumed, o.deadline_at
  from opened as o
  order by o.priority desc, o.available_at, o.response_id;
end;
$$;
create or replace function pgdurable._place_attempts(p_response_ids text[], p_reason text, p_now timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  with begun as materialized (
    select
      r.*,
      coalesce(r.conversation_id, r.response_id) as base_id,
      r.attempt > 1 and pgdurable._has_progress(r.response_id) as resumed
    from pgdurable.responses as r
    where r.response_id = any(p_response_ids)
  ),
  placed as (
    insert into pgdurable.attempts as a (
      response_id, attempt, worker_id, reason, resumed, conversation_id, started_at
    )
    select
      b.response_id,
      b.attempt,
      b.worker_id,
      case when b.resumed and p_reason = 'claim' then 'release' else p_reason end,
      b.resumed,
      case
        when b.resumed then pgdurable.rotate_conversation(b.base_id, b.response_id, b.attempt)
        else coalesce(c.current_conversation_id, b.base_id)
      end,
      p_now
    from begun as b
    left join lateral (
      select o.current_conversation_id
      from pgdurable.conversation_aliases as o
      where o.principal = b.principal and o.base_conversation_id = b.base_id
      limit 1
    ) as c on true
    returning a.response_id, a.resumed, a.conversation_id
  )
  insert into pgdurable.conversation_aliases as c (
    principal, base_conversation_id, current_conversation_id, response_id, updated_at
  )
  select distinct on (b.principal, b.conversation_id)
    b.principal, b.conversation_id, p.conversation_id, b.response_id, p_now
  from placed as p
  join begun as b on b.response_id = p.response_id
  where p.resumed and b.conversation_id is not null
  order by b.principal, b.conversation_id, b.response_id desc
  on conflict (principal, base_conversation_id) do update
  set
    current_conversation_id = excluded.current_conversation_id,
    response_id = excluded.response_id,
    updated_at = excluded.updated_at;
end;
$$;
create or replace function pgdurable._has_progress(p_response_id text)
returns boolean
language sql
stable
as $$
  select exists (
    select
    from pgdurable.events as e
    where e.response_id = p_response_id
      and e.attempt >= 1
      and e.type not in ('response.in_progress', 'response.resumed')
  );
$$;
create or replace function pgdurable._resumed_event(p_attempt integer, p_seq bigint, p_conversation_id text)
returns json
language sql
stable
as $$
  select (
    '{"type":"response.resumed","attempt":' || p_attempt
    || ',"from_seq":' || p_seq
    || ',"conversation_id":' || to_json(p_conversation_id)::text
    || '}'
  )::json;
$$;
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
create or replace function pgdurable._end_without_handler(p_response_id text, p_code text, p_now timestamptz)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_status  text := case when p_code = 'cancelled' then 'cancelled' else 'failed' end;
  v_type    text := case when p_code = 'cancelled' then 'response.incomplete' else 'response.failed' end;
  v_message text := pgdurable._ending_message(p_code);
  v_seq     bigint;
  v_event   json;
begin
  v_seq := pgdurable._close_open_items(p_response_id, p_now);
  if v_status = 'failed' then
    v_seq := v_seq + 1;
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select
      p_response_id, v_seq, r.attempt, 'error',
      pgdurable._error_event(p_code, v_message), p_now
    from pgdurable.responses as r
    where r.response_id = p_response_id;
  end if;
  v_seq := v_seq + 1;
  insert into pgdurable.events as e (response_id, seq, attempt, type, body, created_at)
  select
    p_response_id, v_seq, r.attempt, v_type,
    pgdurable._lifecycle_event(
      v_type, p_response_id, r.created_at, v_status, r.attempt, q.fields,
      case when v_status = 'failed' then
        json_build_object('code', p_code, 'message', v_message, 'type', 'server_error')
      end,
      case when v_status = 'cancelled' then '{"reason":"cancelled"}'::json end,
      pgdurable._closed_items(p_response_id, r.attempt)
    ),
    p_now
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  where r.response_id = p_response_id
  returning e.body into v_event;
  return query
  update pgdurable.responses as r
  set
    status = v_status,
    last_seq = v_seq,
    worker_id = null,
    lease_expires_at = null,
    finished_at = p_now
  where r.response_id = p_response_id
  returning
    r.response_id, r.attempt, r.status, r.last_seq, v_type, v_event, r.principal,
    pgdurable._epoch(r.created_at), null::text, r.conversation_id, null::json, null::json, false, r.deadline_at;
end;
$$;
create or replace function pgdurable._ending_message(p_code text)
returns text
language sql
stable
as $$
  select case p_code
    when 'max_attempts' then 'Every allowed attempt ended without a result: its worker went silent.'
    when 'deadline_exceeded' then 'The response was not finished before its deadline.'
    when 'storage_refused' then 'The database refused to store what the agent answered.'
  end;
$$;
create or replace function pgdurable._error_event(p_code text, p_message text)
returns json
language sql
stable
as $$
  select (
    '{"type":"error","code":' || to_json(p_code)::text
    || ',"message":' || to_json(p_message)::text
    || ',"param":null}'
  )::json;
$$;
create or replace function pgdurable.fail_response(p_response_id text, p_attempt integer)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz;
begin
  perform
  from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.attempt = p_attempt
    and r.status = 'in_progress'
  for no key update;
  if not found then
    perform pgdurable._refuse_lost(p_response_id, p_attempt);
  end if;
  v_now := pgdurable.now();
  update pgdurable.attempts as a
  set ended_at = v_now, outcome = 'failed'
  where a.response_id = p_response_id
    and a.attempt = p_attempt;
  perform pgdurable._end_without_handler(p_response_id, 'storage_refused', v_now);
end;
$$;
comment on function pgdurable.fail_response is
  'End a response whose attempt has something that the database refuses to store.';
create or replace function pgdurable.take_over_responses(
  p_worker_id text,
  p_queues    text[],
  p_limit     integer,
  p_lease     interval
)
returns setof pgdurable.claimed_response
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now     timestamptz := pgdurable.now();
  v_expired text[];
  v_ended   text[];
begin
  v_expired := pgdurable._lock_expired(p_queues, p_limit, v_now);
  return query
  select f.*
  from pgdurable._fail_overdue(p_queues, p_limit, v_now) as f;
  if v_expired = '{}' then
    return;
  end if;
  update pgdurable.attempts as a
  set ended_at = v_now, outcome = 'lost'
  from pgdurable.responses as r
  where r.response_id = any(v_expired)
    and a.response_id = r.response_id
    and a.attempt = r.attempt
    and a.outcome is null;
  update pgdurable.responses as r
  set failed_attempts = r.failed_attempts + 1
  where r.response_id = any(v_expired);
  return query
  select x.*
  from pgdurable._end_exhausted(v_expired, v_now) as x;
  v_ended := array(
    select r.response_id
    from pgdurable.responses as r
    where r.response_id = any(v_expired)
      and r.status <> 'in_progress'
  );
  return query
  select b.*
  from pgdurable._begin_attempts(
    array(select i.id from unnest(v_expired) as i (id) where i.id <> all(v_ended)),
    p_worker_id, p_lease, 'takeover'
  ) as b;
end;
$$;
comment on function pgdurable.take_over_responses is
  'Take over up to p_limit responses whose lease has expired; end those past their budget.';
create or replace function pgdurable._lock_expired(p_queues text[], p_limit integer, p_now timestamptz)
returns text[]
language sql
as $$
  with expired as materialized (
    select r.response_id
    from pgdurable.responses as r
    where r.status = 'in_progress'
      and r.queue = any(p_queues)
      and r.lease_expires_at < p_now
    order by r.lease_expires_at
    limit p_limit
    for no key update skip locked
  )
  select coalesce(array_agg(e.response_id), '{}')
  from expired as e;
$$;
create or replace function pgdurable._end_exhausted(p_response_ids text[], p_now timestamptz)
returns setof pgdurable.claimed_response
language sql
as $$
  select e.*
  from pgdurable.responses as r
  cross join lateral pgdurable._end_without_handler(
    r.response_id,
    case
      when r.cancel_requested_at is not null then 'cancelled'
      when r.deadline_at <= p_now then 'deadline_exceeded'
      else 'max_attempts'
    end,
    p_now
  ) as e
  where r.response_id = any(p_response_ids)
    and (
      r.cancel_requested_at is not null
      or r.deadline_at <= p_now
      or r.failed_attempts >= r.max_attempts
    );
$$;
create or replace function pgdurable._fail_overdue(p_queues text[], p_limit integer, p_now timestamptz)
returns setof pgdurable.claimed_response
language sql
as $$
  with overdue as materialized (
    select r.response_id
    from pgdurable.responses as r
    where r.deadline_at <= p_now
      and r.finished_at is null
      and r.worker_id is null
      and r.queue = any(p_queues)
    order by r.deadline_at
    limit p_limit
    for no key update skip locked
  )
  select e.*
  from overdue as o
  cross join lateral pgdurable._end_without_handler(o.response_id, 'deadline_exceeded', p_now) as e;
$$;
create or replace function pgdurable.heartbeat(
  p_worker_id    text,
  p_response_ids text[],
  p_attempts     integer[],
  p_lease        interval
)
returns setof pgdurable.lease_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now    timestamptz;
  v_locked text[];
begin
  with locked as materialized (
    select r.response_id
    from pgdurable.responses as r
    join unnest(p_response_ids, p_attempts) as w (response_id, attempt)
      on w.response_id = r.response_id and w.attempt = r.attempt
    where r.response_id = any(p_response_ids)
      and r.status = 'in_progress'
    for no key update of r skip locked
  )
  select coalesce(array_agg(l.response_id), '{}')
  into v_locked
  from locked as l;
  v_now := pgdurable.now();
  update pgdurable.responses as r
  set lease_expires_at = v_now + p_lease
  where r.response_id = any(v_locked);
  update pgdurable.workers as w
  set last_seen_at = v_now
  where w.worker_id in (
    select free.worker_id
    from pgdurable.workers as free
    where free.worker_id = p_worker_id
    for no key update skip locked
  );
  return query
  select
    w.response_id,
    w.attempt,
    case
      when r.response_id is null then 'lost'
      when r.cancel_requested_at is not null then 'cancel'
      when r.response_id = any(v_locked) then 'ok'
      else 'busy'
    end
  from unnest(p_response_ids, p_attempts) as w (response_id, attempt)
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.status = 'in_progress';
end;
$$;
comment on function pgdurable.heartbeat is
  'Renew the leases of a worker''s attempts; answers ok, cancel, lost or busy for each.';
create or replace function pgdurable.register_worker(
  p_worker_id   text,
  p_host        text,
  p_pid         integer,
  p_queues      text[],
  p_concurrency integer,
  p_version     text
)
returns void
language sql
as $$
  insert into pgdurable.workers as w (
    worker_id, host, pid, queues, concurrency, version, started_at, last_seen_at
  )
  values (
    p_worker_id, p_host, p_pid, p_queues, p_concurrency, p_version, pgdurable.now(), pgdurable.now()
  )
  on conflict (worker_id) do update
  set last_seen_at = excluded.last_seen_at;
$$;
comment on function pgdurable.register_worker is
  'Tell people that a worker process has started.';
create or replace function pgdurable.unregister_worker(p_worker_id text)
returns void
language sql
as $$
  update pgdurable.workers as w
  set stopped_at = pgdurable.now()
  where w.worker_id = p_worker_id;
$$;
comment on function pgdurable.unregister_worker is
  'Tell people that a worker process has stopped.';
create or replace function pgdurable._lock_responses(p_response_ids text[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  perform
  from pgdurable.responses as r
  where r.response_id = any(p_response_ids)
  order by r.response_id
  for no key update;
end;
$$;
create or replace function pgdurable._first_lines(p_counts integer[], p_lines text)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
  v_firsts bigint[];
  v_sum    bigint;
begin
  select array_agg(c.sum + 1 - c.count order by c.n), coalesce(max(c.sum), 0)
  into v_firsts, v_sum
  from (
    select w.count, w.n, sum(w.count) over (order by w.n) as sum
    from unnest(p_counts) with ordinality as w (count, n)
  ) as c;
  if v_sum <> cardinality(string_to_array(p_lines, E'\n')) then
    perform pgdurable._refuse(
      '22023',
      'p_counts adds up to ' || v_sum || ' events, but there is not one line for each.',
      'p_types, p_item_ids and p_bodies hold one line per event; a body is JSON without raw newlines.'
    );
  end if;
  return v_firsts;
end;
$$;
create or replace function pgdurable.append_events(
  p_response_ids text[],
  p_attempts     integer[],
  p_last_seqs    bigint[],
  p_counts       integer[],
  p_types        text,
  p_item_ids     text,
  p_bodies       text,
  p_lease        interval
)
returns setof pgdurable.write_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set enable_nestloop = off
as $$
declare
  v_now    timestamptz;
  v_starts bigint[] := pgdurable._first_lines(p_counts, p_types);
begin
  perform pgdurable._lock_responses(p_response_ids);
  v_now := pgdurable.now();
  return query
  with wanted as materialized (
    select w.*
    from unnest(p_response_ids, p_attempts, p_last_seqs, p_counts, v_starts) with ordinality
      as w (response_id, attempt, last_seq, count, start, n)
  ),
  appended as (
    update pgdurable.responses as r
    set
      last_seq = r.last_seq + w.count,
      lease_expires_at = v_now + p_lease
    from wanted as w
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
      and r.last_seq = w.last_seq
      and w.count > 0
    returning r.response_id, r.attempt, w.last_seq, w.start, w.n
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, item_id, body, created_at)
    select
      a.response_id, a.last_seq + 1 + l.n - a.start, a.attempt, l.type, nullif(l.item_id, ''),
      l.body::json, v_now
    from rows from (
      string_to_table(p_types, E'\n'), string_to_table(p_item_ids, E'\n'), string_to_table(p_bodies, E'\n')
    ) with ordinality as l (type, item_id, body, n)
    join appended as a on a.n = width_bucket(l.n, v_starts)
  )
  select
    w.response_id,
    case
      when r.response_id is null then 'lost'
      when r.cancel_requested_at is not null then 'cancel'
      else 'ok'
    end,
    w.last_seq + w.count
  from wanted as w
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.status = 'in_progress'
    and r.last_seq in (w.last_seq, w.last_seq + w.count)
  order by w.n;
end;
$$;
comment on function pgdurable.append_events is
  'Append events to the logs of many responses, each fenced by its attempt; answers ok, cancel or lost.';
create or replace function pgdurable.finish_responses(
  p_response_ids text[],
  p_attempts     integer[],
  p_last_seqs    bigint[],
  p_statuses     text[],
  p_types        text,
  p_bodies       text
)
returns setof pgdurable.write_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz;
begin
  perform pgdurable._lock_responses(p_response_ids);
  v_now := pgdurable.now();
  return query
  with wanted as materialized (
    select w.*, l.type, l.body
    from unnest(p_response_ids, p_attempts, p_last_seqs, p_statuses) with ordinality
      as w (response_id, attempt, last_seq, status, n)
    left join rows from (string_to_table(p_types, E'\n'), string_to_table(p_bodies, E'\n')) with ordinality
      as l (type, body, n) on l.n = w.n
  ),
  finished as (
    update pgdurable.responses as r
    set
      status = w.status,
      last_seq = r.last_seq + 1,
      worker_id = null,
      lease_expires_at = null,
      finished_at = v_now
    from wanted as w
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
      and r.last_seq = w.last_seq
    returning r.response_id, r.attempt, r.last_seq, r.status, w.type, w.body
  ),
  logged as (
    insert into pgdurable.events (response_id, seq, attempt, type, body, created_at)
    select f.response_id, f.last_seq, f.attempt, f.type, f.body::json, v_now
    from finished as f
  ),
  ended as (
    update pgdurable.attempts as a
    set ended_at = v_now, outcome = f.status
    from finished as f
    where a.response_id = any(p_response_ids)
      and a.response_id = f.response_id
      and a.attempt = f.attempt
  )
  select
    w.response_id,
    case
      when f.response_id is not null then 'ok'
      when pgdurable._outcome(r.response_id, r.attempt) = w.status then 'ok'
      else 'lost'
    end,
    w.last_seq + 1
  from wanted as w
  left join finished as f on f.response_id = w.response_id
  left join pgdurable.responses as r
    on r.response_id = any(p_response_ids)
    and r.response_id = w.response_id
    and r.attempt = w.attempt
    and r.last_seq = w.last_seq + 1
  order by w.n;
end;
$$;
comment on function pgdurable.finish_responses is
  'End many responses, each with its terminal event and fenced by its attempt; answers ok or lost.';
create or replace function pgdurable._outcome(p_response_id text, p_attempt integer)
returns text
language sql
stable
as $$
  select a.outcome
  from pgdurable.attempts as a
  where a.response_id = p_response_id
    and a.attempt = p_attempt;
$$;
create or replace function pgdurable.release_responses(p_response_ids text[], p_attempts integer[])
returns setof pgdurable.write_result
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz;
begin
  perform pgdurable._lock_responses(p_response_ids);
  v_now := pgdurable.now();
  return query
  with wanted as materialized (
    select w.*
    from unnest(p_response_ids, p_attempts) with ordinality as w (response_id, attempt, n)
  ),
  released as (
    update pgdurable.responses as r
    set
      status = 'queued',
      worker_id = null,
      lease_expires_at = null,
      available_at = v_now
    from wanted as w
    where r.response_id = any(p_response_ids)
      and r.response_id = w.response_id
      and r.attempt = w.attempt
      and r.status = 'in_progress'
    returning r.response_id, r.attempt, r.last_seq
  ),
  ended as (
    update pgdurable.attempts as a
    set ended_at = v_now, outcome = 'released'
    from released as r
    where a.response_id = any(p_response_ids)
      and a.response_id = r.response_id
      and a.attempt = r.attempt
  )
  select w.response_id, case when r.response_id is null then 'lost' else 'ok' end, r.last_seq
  from wanted as w
  left join released as r on r.response_id = w.response_id
  order by w.n;
  perform pgdurable._end_cancelled(p_response_ids, v_now);
end;
$$;
comment on function pgdurable.release_responses is
  'Give responses back unfinished, for another worker to claim at once; answers ok or lost.';
create or replace function pgdurable._end_cancelled(p_response_ids text[], p_now timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_ids text[] := array(
    select r.response_id
    from pgdurable.responses as r
    where r.response_id = any(p_response_ids)
      and r.worker_id is null
      and r.finished_at is null
      and r.cancel_requested_at is not null
  );
begin
  perform pgdurable._end_without_handler(i.id, 'cancelled', p_now)
  from unnest(v_ids) as i (id);
  if v_ids <> '{}' then
    perform pgdurable.wake('pgdurable_tail', v_ids);
  end if;
end;
$$;
create or replace function pgdurable.cancel_response(p_response_id text, p_principal text default '')
returns text
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now    timestamptz;
  v_status text;
begin
  select r.status
  into v_status
  from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.principal = p_principal
  for no key update;
  v_now := pgdurable.now();
  if v_status is null then
    perform pgdurable._refuse_not_found(p_response_id);
  elsif v_status = 'queued' then
    perform pgdurable._end_without_handler(p_response_id, 'cancelled', v_now);
    v_status := 'cancelled';
  elsif v_status = 'in_progress' then
    update pgdurable.responses as r
    set cancel_requested_at = coalesce(r.cancel_requested_at, v_now)
    where r.response_id = p_response_id;
  else
    perform pgdurable._refuse(
      'PD003',
      'Response ''' || p_response_id || ''' is already ' || v_status || '.',
      'A finished response never changes; pgdurable.retry_response makes a new one.'
    );
  end if;
  perform pgdurable.wake('pgdurable_work', array[p_response_id]);
  perform pgdurable.wake('pgdurable_tail', array[p_response_id]);
  return v_status;
end;
$$;
comment on function pgdurable.cancel_response is
  'Cancel a response: at once if it is queued, through its worker if it is in progress.';
create or replace function pgdurable.delete_response(p_response_id text, p_principal text default '')
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_conversation_id text;
begin
  delete from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.principal = p_principal
  returning case when r.store then r.conversation_id end into v_conversation_id;
  if not found then
    perform pgdurable._refuse_not_found(p_response_id);
  end if;
  perform pgdurable._delete_leftovers(array[p_response_id], array[p_principal], array[v_conversation_id]);
  perform pgdurable.wake('pgdurable_work', array[p_response_id]);
  perform pgdurable.wake('pgdurable_tail', array[p_response_id]);
end;
$$;
comment on function pgdurable.delete_response is
  'Delete a response, its request, its events and its attempts, also while it runs.';
create or replace function pgdurable.retry_response(p_response_id text, p_principal text default '')
returns text
language plpgsql
set search_path = ''
as $$
declare
  v_old record;
  v_new pgdurable.enqueued_response;
begin
  select r.*, q.body, q.fields, q.metadata, q.previous_response_id
  into v_old
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  where r.response_id = p_response_id
    and r.principal = p_principal;
  if v_old.response_id is null then
    perform pgdurable._refuse_not_found(p_response_id);
  elsif v_old.finished_at is null then
    perform pgdurable._refuse(
      'PD006',
      'Response ''' || p_response_id || ''' is still ' || v_old.status || '.',
      'Wait for it, or cancel it first.'
    );
  end if;
  select e.*
  into v_new
  from pgdurable._enqueue(
    array[pgdurable.new_response_id()], array[v_old.principal], array[v_old.conversation_id],
    array[v_old.previous_response_id], array[null]::text[], array[v_old.metadata::text],
    array[v_old.body::text],
    array[regexp_replace(v_old.fields::text, '^\{"background":false', '{"background":true')],
    array[true], array[v_old.store], v_old.queue, v_old.agent, v_old.priority, v_old.max_attempts,
    interval '0', v_old.deadline_at - v_old.created_at, p_response_id
  ) as e;
  perform pgdurable.wake('pgdurable_work', array[v_new.response_id]);
  return v_new.response_id;
end;
$$;
comment on function pgdurable.retry_response is
  'Enqueue the request of a finished response again, as a new response; answers its id.';
create or replace function pgdurable.previous_events(p_response_id text, p_attempt integer)
returns setof pgdurable.stored_event
language sql
stable
as $$
  select e.response_id, e.seq, e.attempt, e.type, e.body
  from pgdurable.events as e
  where e.response_id = p_response_id
    and e.attempt between 1 and p_attempt - 1
  order by e.seq;
$$;
comment on function pgdurable.previous_events is
  'The events that the attempts before p_attempt appended.';
create or replace function pgdurable.read_items(p_principal text, p_item_ids text[])
returns setof pgdurable.stored_item
language sql
stable
as $$
  select distinct on (e.item_id) e.item_id, e.response_id, e.body
  from pgdurable.events as e
  where e.item_id = any(p_item_ids)
    and p_principal = (
      select r.principal
      from pgdurable.responses as r
      where r.response_id = e.response_id
    )
  order by e.item_id, e.response_id desc, e.seq desc;
$$;
comment on function pgdurable.read_items is
  'The closed items with these ids, as their response.output_item.done events.';
create or replace function pgdurable.read_chain(
  p_principal            text,
  p_previous_response_id text,
  p_limit                integer default 100
)
returns setof pgdurable.chain_link
language sql
stable
as $$
  with recursive chain as (
    select q.response_id, q.previous_response_id, 1 as depth
    from pgdurable.requests as q
    where q.response_id = p_previous_response_id
    union all
    select p.response_id, p.previous_response_id, c.depth + 1
    from chain as c
    cross join lateral (
      select q.response_id, q.previous_response_id
      from pgdurable.requests as q
      where q.response_id = c.previous_response_id
      limit 1
    ) as p
    where c.depth < p_limit
  )
  select c.response_id, l.status, l.request, l.terminal
  from chain as c
  cross join lateral (
    select
      r.status,
      (select q.body from pgdurable.requests as q where q.response_id = r.response_id) as request,
      (
        select e.body
        from pgdurable.events as e
        where e.response_id = r.response_id and e.seq = r.last_seq and r.finished_at is not null
      ) as terminal
    from pgdurable.responses as r
    where r.response_id = c.response_id
      and r.principal = p_principal
    limit 1
  ) as l
  order by c.depth desc;
$$;
comment on function pgdurable.read_chain is
  'The responses that previous_response_id leads back to, oldest first.';
create or replace function pgdurable.rotate_conversation(p_base text, p_response_id text, p_attempt integer)
returns text
language sql
stable
as $$
  select p_base || '::r-' || right(p_response_id, 8) || '-' || p_attempt;
$$;
comment on function pgdurable.rotate_conversation is
  'The conversation id that this attempt of this response runs on, instead of the base.';
create or replace function pgdurable.resolve_conversation_alias(p_principal text, p_base text)
returns text
language sql
stable
as $$
  select coalesce(
    (
      select a.current_conversation_id
      from pgdurable.conversation_aliases as a
      where a.principal = p_principal
        and a.base_conversation_id = p_base
    ),
    p_base
  );
$$;
comment on function pgdurable.resolve_conversation_alias is
  'The current id of a conversation; the base itself where it never rotated.';
create or replace function pgdurable.upsert_conversation_alias(
  p_principal   text,
  p_base        text,
  p_current     text,
  p_response_id text,
  p_attempt     integer
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform
  from pgdurable.responses as r
  where r.response_id = p_response_id
    and r.principal = p_principal
    and r.attempt = p_attempt
    and r.status = 'in_progress'
  for no key update;
  if not found then
    perform pgdurable._refuse_lost(p_response_id, p_attempt);
  end if;
  insert into pgdurable.conversation_aliases as a (
    principal, base_conversation_id, current_conversation_id, response_id, updated_at
  )
  values (p_principal, p_base, p_current, p_response_id, pgdurable.now())
  on conflict (principal, base_conversation_id) do update
  set
    current_conversation_id = excluded.current_conversation_id,
    response_id = excluded.response_id,
    updated_at = excluded.updated_at;
end;
$$;
comment on function pgdurable.upsert_conversation_alias is
  'Point a conversation''s stable id at its current one, on behalf of an attempt.';
create or replace function pgdurable.get_conversation(p_principal text, p_base text)
returns setof pgdurable.conversation
language sql
stable
set enable_seqscan = off
as $$
  select
    p_base,
    pgdurable.resolve_conversation_alias(p_principal, p_base),
    max(r.response_id) filter (where r.finished_at is null),
    max(r.response_id),
    coalesce(
      json_agg(
        json_build_object(
          'conversation_id', a.conversation_id, 'response_id', a.response_id, 'attempt', a.attempt,
          'at', pgdurable._epoch(a.started_at)
        )
        order by a.started_at
      ) filter (where a.response_id is not null),
      '[]'
    )
  from pgdurable.responses as r
  left join lateral (
    select t.response_id, t.attempt, t.conversation_id, t.started_at
    from pgdurable.attempts as t
    where t.response_id = r.response_id
      and t.resumed
    offset 0
  ) as a on true
  where r.principal = p_principal
    and r.conversation_id = p_base
  having count(*) > 0;
$$;
comment on function pgdurable.get_conversation is
  'A conversation''s current id, its rotations, and the response that is active in it.';
create or replace function pgdurable.get_response(p_response_id text, p_principal text default '')
returns setof pgdurable.response_snapshot
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  select
    r.response_id, r.principal, r.status, r.attempt, r.last_seq, r.background, r.store,
    pgdurable._epoch(r.created_at), r.conversation_id, q.fields, t.body,
    case when r.finished_at is null then array(
      select i.body
      from pgdurable.events as i
      where i.response_id = r.response_id
        and i.type = 'response.output_item.done'
        and i.attempt = r.attempt
      order by i.seq
    ) end
  from pgdurable.responses as r
  join pgdurable.requests as q on q.response_id = r.response_id
  left join pgdurable.events as t
    on t.response_id = r.response_id and t.seq = r.last_seq and r.finished_at is not null
  where r.response_id = p_response_id
    and r.principal = p_principal;
  if not found then
    perform pgdurable._refuse_not_found(p_response_id);
  end if;
end;
$$;
comment on function pgdurable.get_response is
  'One response: status, attempt, and its terminal event or the items closed so far.';
create or replace function pgdurable.read_events(
  p_response_ids text[],
  p_cursors      bigint[],
  p_limit        integer default 1000
)
returns setof pgdurable.stored_event
language sql
stable
as $$
  select e.response_id, e.seq, e.attempt, e.type, e.body
  from unnest(p_response_ids, p_cursors) as w (response_id, cursor)
  cross join lateral (
    select v.response_id, v.seq, v.attempt, v.type, v.body
    from pgdurable.events as v
    where v.response_id = w.response_id
      and v.seq > w.cursor
    order by v.seq
    limit p_limit
  ) as e;
$$;
comment on function pgdurable.read_events is
  'The events after each response''s cursor, in order.';
create or replace function pgdurable.existing_responses(p_response_ids text[])
returns setof text
language sql
stable
as $$
  select r.response_id
  from pgdurable.responses as r
  where r.response_id = any(p_response_ids);
$$;
comment on function pgdurable.existing_responses is
  'Those of the ids whose responses have not been deleted.';
create or replace function pgdurable.get_request(p_response_id text, p_principal text default '')
returns json
language plpgsql
stable
set search_path = ''
as $$
declare
  v_body json;
begin
  select q.body
  into v_body
  from pgdurable.requests as q
  join pgdurable.responses as r on r.response_id = q.response_id
  where q.response_id = p_response_id
    and r.principal = p_principal;
  if not found then
    perform pgdurable._refuse_not_found(p_response_id);
  end if;
  return v_body;
end;
$$;
comment on function pgdurable.get_request is
  'The request of a response, as it was sent.';
create or replace function pgdurable.list_responses(
  p_principal       text default '',
  p_status          text default null,
  p_conversation_id text default null,
  p_metadata        jsonb default null,
  p_after           text default null,
  p_limit           integer default 20,
  p_ascending       boolean default false
)
returns setof pgdurable.listed_response
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
  v_ids text[];
begin
  if p_ascending then
    v_ids := array(
      select m.response_id
      from pgdurable._matching_responses(p_principal, p_status, p_conversation_id, p_metadata) as m
      where p_after is null or m.response_id > p_after
      order by m.response_id
      limit p_limit
    );
  else
    v_ids := array(
      select m.response_id
      from pgdurable._matching_responses(p_principal, p_status, p_conversation_id, p_metadata) as m
      where p_after is null or m.response_id < p_after
      order by m.response_id desc
      limit p_limit
    );
  end if;
  return query
  select
    l.response_id, l.status, l.attempt, l.background, pgdurable._epoch(l.created_at), l.fields, l.terminal
  from unnest(v_ids) with ordinality as i (response_id, n)
  cross join lateral (
    select
      r.*,
      (select q.fields from pgdurable.requests as q where q.response_id = r.response_id) as fields,
      (
        select e.body
        from pgdurable.events as e
        where e.response_id = r.response_id and e.seq = r.last_seq and r.finished_at is not null
      ) as terminal
    from pgdurable.responses as r
    where r.response_id = i.response_id
    limit 1
  ) as l
  order by i.n;
end;
$$;
comment on function pgdurable.list_responses is
  'A page of responses, filtered by status, conversation and metadata.';
create or replace function pgdurable._matching_responses(
  p_principal       text,
  p_status          text,
  p_conversation_id text,
  p_metadata        jsonb
)
returns table (response_id text)
language sql
stable
as $$
  select r.response_id
  from pgdurable.responses as r
  where r.principal = p_principal
    and (p_status is null or r.status = p_status)
    and (p_conversation_id is null or r.conversation_id = p_conversation_id)
    and (
      p_metadata is null
      or p_metadata = '{}'
      or exists (
        select
        from pgdurable.requests as q
        where q.response_id = r.response_id
          and q.metadata @> p_metadata
          and q.metadata <> '{}'
      )
    );
$$;
create or replace function pgdurable.wake(p_channel text, p_ids text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  if p_channel is null or p_channel not in ('pgdurable_work', 'pgdurable_tail') then
    raise warning 'pgdurable.wake: no such channel: %', p_channel;
    return;
  end if;
  perform pg_catalog.pg_notify(p_channel, p.ids)
  from (
    select string_agg(i.id, ' ' order by i.n) as ids
    from unnest(p_ids) with ordinality as i (id, n)
    group by (i.n - 1) / 200
  ) as p
  where octet_length(p.ids) <= 7900;
end;
$$;
comment on function pgdurable.wake is
  'Tell listeners on pgdurable_work or pgdurable_tail which responses have news.';
create or replace function pgdurable.prune_responses(p_older_than interval, p_limit integer default 1000)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now           timestamptz := pgdurable.now();
  v_ids           text[];
  v_principals    text[];
  v_conversations text[];
begin
  with old as materialized (
    select r.response_id
    from pgdurable.responses as r
    where r.response_id < pgdurable._first_response_id(v_now - p_older_than)
      and r.finished_at < v_now - p_older_than
    order by r.response_id
    limit p_limit
    for update skip locked
  ),
  unstored as materialized (
    select r.response_id
    from pgdurable.responses as r
    where not r.store
      and r.finished_at < v_now - least(p_older_than, interval '1 hour')
    order by r.response_id
    limit p_limit
    for update skip locked
  ),
  gone as (
    delete from pgdurable.responses as r
    using (select o.response_id from old as o union select u.response_id from unstored as u limit p_limit) as d
    where r.response_id = d.response_id
    returning r.response_id, r.principal, r.conversation_id
  )
  select coalesce(array_agg(g.response_id), '{}'), array_agg(g.principal), array_agg(g.conversation_id)
  into v_ids, v_principals, v_conversations
  from gone as g;
  perform pgdurable._delete_leftovers(v_ids, v_principals, v_conversations);
  perform pgdurable._delete_old_workers(v_now - greatest(p_older_than, interval '1 hour'), p_limit);
  return cardinality(v_ids);
end;
$$;
comment on function pgdurable.prune_responses is
  'Delete up to p_limit responses that finished longer ago than this; answers how many.';
create or replace function pgdurable._delete_old_workers(p_last_seen_before timestamptz, p_limit integer)
returns void
language sql
as $$
  with old as materialized (
    select w.worker_id
    from pgdurable.workers as w
    where w.last_seen_at < p_last_seen_before
      and not exists (
        select
        from pgdurable.responses as r
        where r.worker_id = w.worker_id
          and r.status = 'in_progress'
      )
    limit p_limit
    for update of w skip locked
  )
  delete from pgdurable.workers as w
  using old as o
  where w.worker_id = o.worker_id;
$$;
create or replace function pgdurable._delete_leftovers(
  p_response_ids     text[],
  p_principals       text[],
  p_conversation_ids text[]
)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_gone record;
begin
  delete from pgdurable.events as e
  where e.response_id = any(p_response_ids);
  delete from pgdurable.idempotency_keys as k
  where k.response_id = any(p_response_ids);
  for v_gone in
    select distinct g.principal, g.conversation_id
    from unnest(p_principals, p_conversation_ids) as g (principal, conversation_id)
    where g.conversation_id is not null
    order by g.principal, g.conversation_id
  loop
    perform
    from pgdurable.conversation_aliases as a
    where a.principal = v_gone.principal
      and a.base_conversation_id = v_gone.conversation_id
    for update;
    delete from pgdurable.conversation_aliases as a
    where a.principal = v_gone.principal
      and a.base_conversation_id = v_gone.conversation_id
      and not exists (
        select
        from pgdurable.responses as r
        where r.principal = v_gone.principal
          and r.conversation_id = v_gone.conversation_id
      );
  end loop;
end;
$$;
drop view if exists
  pgdurable.response_overview,
  pgdurable.queue_depth,
  pgdurable.expired_leases,
  pgdurable.worker_activity,
  pgdurable.conversation_overview;
create view pgdurable.response_overview as
select
  r.response_id,
  r.status,
  r.attempt,
  r.failed_attempts || '/' || r.max_attempts as failed_attempts,
  r.last_seq + 1 as events,
  r.queue,
  r.agent,
  r.principal,
  r.conversation_id,
  r.worker_id,
  r.lease_expires_at - pgdurable.now() as lease_left,
  r.cancel_requested_at is not null as cancel_requested,
  pgdurable.now() - r.created_at as age,
  r.created_at,
  r.started_at,
  r.finished_at
from pgdurable.responses as r;
comment on view pgdurable.response_overview is
  'Every response: where it stands, who has it, and how long that lease still runs.';
create view pgdurable.queue_depth as
select
  r.queue,
  count(*) filter (where r.status = 'queued' and r.available_at <= pgdurable.now()) as claimable,
  count(*) filter (where r.status = 'queued' and r.available_at > pgdurable.now()) as delayed,
  count(*) filter (where r.status = 'in_progress') as in_progress,
  pgdurable.now() - min(r.available_at) filter (where r.status = 'queued') as oldest_wait
from pgdurable.responses as r
where r.status in ('queued', 'in_progress')
group by r.queue;
comment on view pgdurable.queue_depth is
  'Per queue: how many wait, how many run, and how long the oldest has waited.';
create view pgdurable.expired_leases as
select
  r.response_id,
  r.attempt,
  r.worker_id,
  w.host,
  w.pid,
  w.last_seen_at as worker_last_seen_at,
  pgdurable.now() - r.lease_expires_at as expired_for,
  r.queue
from pgdurable.responses as r
left join pgdurable.workers as w on w.worker_id = r.worker_id
where r.status = 'in_progress'
  and r.lease_expires_at < pgdurable.now();
comment on view pgdurable.expired_leases is
  'Responses whose worker went silent and that nobody has taken over yet: the stuck ones.';
create view pgdurable.worker_activity as
select
  w.worker_id,
  w.host,
  w.pid,
  w.queues,
  w.concurrency,
  count(r.response_id) as in_progress,
  w.version,
  w.started_at,
  pgdurable.now() - w.last_seen_at as silent_for,
  w.stopped_at
from pgdurable.workers as w
left join pgdurable.responses as r on r.worker_id = w.worker_id and r.status = 'in_progress'
group by w.worker_id;
comment on view pgdurable.worker_activity is
  'Every worker process: where it runs, what it holds, and when it was last seen.';
create view pgdurable.conversation_overview as
select
  r.principal,
  r.conversation_id,
  coalesce(a.current_conversation_id, r.conversation_id) as current_conversation_id,
  count(*) as responses,
  count(*) filter (where r.finished_at is null) as active,
  max(r.response_id) as latest_response_id,
  max(r.created_at) as latest_at
from pgdurable.responses as r
left join pgdurable.conversation_aliases as a
  on a.principal = r.principal and a.base_conversation_id = r.conversation_id
where r.conversation_id is not null
group by r.principal, r.conversation_id, a.current_conversation_id;
comment on view pgdurable.conversation_overview is
  'Every conversation: its stable id, the id it was last rotated to, and its responses.';
revoke all on schema pgdurable from public;
revoke all on all tables in schema pgdurable from public;
revoke execute on all functions in schema pgdurable from public;
do $$
begin
  if exists (select from pg_catalog.pg_roles as r where r.rolname = 'pgdurable_runtime') then
    grant usage on schema pgdurable to pgdurable_runtime;
    grant execute on all functions in schema pgdurable to pgdurable_runtime;
    grant select, insert, update, delete on all tables in schema pgdurable to pgdurable_runtime;
    revoke insert, update, delete on pgdurable.schema_files, pgdurable.schema_migrations from pgdurable_runtime;
  end if;
  if exists (select from pg_catalog.pg_roles as r where r.rolname = 'pgdurable_reader') then
    grant usage on schema pgdurable to pgdurable_reader;
    grant execute on function pgdurable.now() to pgdurable_reader;
    grant select on
      pgdurable.response_overview,
      pgdurable.queue_depth,
      pgdurable.expired_leases,
      pgdurable.worker_activity,
      pgdurable.conversation_overview
    to pgdurable_reader;
  end if;
end;
$$;
delete from pgdurable.schema_files;
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('00_base.sql', 'e35345e3a878c9ff6feec29a8a39462d812549fcf5edfff08c4d3178a73052a9', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('01_schema_history.sql', '8edc556e595080528cbfe5d09095647402b92d4da7d92e924cf4888d2723cf0d', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('03_types.sql', 'eeac0a7a30274eabf8d5f8294a68a493397520ca275210a85b9aec17b224be71', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('10_enqueue.sql', '797ac7013110ba5055821bd7f8128d1ffe5e71076a0528b44e377e3e09590eb2', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('12_enqueue_batch.sql', 'a7db6a1a1baf9877e82313770408c433243db1549adbcfdee06ecd9a7622ec2a', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('20_claim.sql', 'af3dbbb08ef9b54a2cf53fc7cec26381793c674d473daad40e33c2e60cb79885', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('21_parts.sql', '2ee2a9d3ca9bba0bc061fa05ab228c9a903a5e85eab01b5f0c76629d787c9545', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('22_attempt.sql', 'a33f7d34d8803000de70ed0fcf7f97a81c72957f17567944ff9fb6cc29f520cc', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('23_items.sql', 'a543e689aa3911f5bc58cc97dc376192c0987e9e2d6c276798f205c897202d0f', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('24_end.sql', '3eb4ef44f718e1327383657dd3002ccdcdec13bb6e984ca545c3eb492892e638', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('25_takeover.sql', '36df0405aa8969cb4e97f7e9cad2ef20e251847ff2dd0edcb1e850b76c55b9d0', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('30_heartbeat.sql', '62e96636566250f9296680bfad00be5e27c95fa23d27bad3093dc0e188e1991b', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('40_append.sql', '018b82d4d0c27dc1def3cb62a2379ac62c88ff4c1e3d88e8ebbd1c63e157ab58', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('50_finish.sql', '345321268f595bc59414bb986aac98a3e05de435e7e32fca4ffc534b035c3e62', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('60_cancel.sql', '53c66f0c79cf926aa0345ab9e2dd37a42713db36a82d5955a2e7c30ec8b1d227', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('65_retry.sql', '54e9f89fbc0efd560e3fa3d4bc4c1feec5836635384eac5a1f85486136ea3807', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('70_resume.sql', '3823a23e3ab613125aa9042e72dcf34e47e002aca396965bea5c8b1f92cc43f7', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('75_alias.sql', '5c2c846c67742abd00b6ea4ce778ce4c5fddc21938caedde56145dd42ea215fd', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('80_tail.sql', '1900e6a6e57e0fb1890b4a8110e1c59166cb7fc24ccd6eb9ee9d5dea7fafb552', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('82_list.sql', 'ccf2d340acca8e6242456b0a1b84ce71d4a446cb9e1193fbe841b2a23ec9f465', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('85_wake.sql', '2c8fe6d0db88a1fd8f142f73849f5eef3cb07622fe1ebb6883bb4bf53807c567', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('90_retention.sql', '9dec1415e36c4346a1017a0503a0bca4225c3e1e0e2e9a276057d555663c6590', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('95_inspect.sql', '42ad4f7742ca2ff6397b5ef57cae3bff7328bcdd7844b7765ff7a9d87fcd1a2f', '0.1.0', pgdurable.now());
insert into pgdurable.schema_files (name, checksum, release, applied_at) values ('99_roles.sql', '5501d00e366f7a9576f9253f3632c21fc633e3ca2cb5b5d8d681e5d3a07da4d6', '0.1.0', pgdurable.now());
