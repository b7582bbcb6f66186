/*
 * tables: the current truth. Applied once, on a fresh database; an older one gets
 * here through migrations/. Ids and keys are collate "C": bytes are compared, whatever the database's own
 * collation is, and no upgrade of the C library can spoil an index.
 *
 *   status     the named checks of responses are the state machine
 *   called by  schema.migrate
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */

/*
 * The state row: narrow and hot. A heartbeat and an append change only
 * lease_expires_at and last_seq, which no index and no index predicate names,
 * so these updates stay heap-only; fillfactor leaves them room.
 */
create table pgdurable.responses (
  response_id         text collate "C" not null,
  principal           text collate "C" not null default '',
  queue               text collate "C" not null default 'default',
  agent               text collate "C" not null default 'agent',
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
  constraint started_not_before_created check (started_at >= created_at),
  constraint finished_not_before_started check (finished_at >= coalesce(started_at, created_at)),
  constraint attempted_before_in_progress
    check (status <> 'in_progress' or (attempt >= 1 and started_at is not null)),
  constraint failed_attempts_were_attempts check (failed_attempts between 0 and attempt),
  constraint max_attempts_is_positive check (max_attempts >= 1),
  constraint last_seq_is_never_negative check (last_seq >= 0)
)
with (
  fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_cost_delay = 0
);

/* What claim_responses scans, in the order in which it claims. */
create index responses_claimable_by_agent_idx
on pgdurable.responses (queue, agent, priority desc, available_at, response_id) where status = 'queued';

/* What take_over_responses scans: as many rows as there are running attempts. */
create index responses_in_progress_idx on pgdurable.responses (response_id) where status = 'in_progress';

create index responses_deadline_idx on pgdurable.responses (deadline_at)
where finished_at is null and deadline_at is not null;

create index responses_unstored_idx on pgdurable.responses (response_id) where not store;

create index responses_principal_idx on pgdurable.responses (principal, response_id);

create index responses_conversation_idx on pgdurable.responses (principal, conversation_id, response_id)
where conversation_id is not null;

comment on table pgdurable.responses is
  'One row per response: its status, its lease, and the fence (response_id, attempt).';
comment on column pgdurable.responses.attempt is
  'Grows by one at every claim and takeover, never goes back: the fencing token.';
comment on column pgdurable.responses.agent is
  'Only workers that have this agent claim it; the empty name, from before agents were told apart, fits all.';
comment on column pgdurable.responses.failed_attempts is
  'Attempts whose worker died with nothing else in progress; max_attempts bounds these.';
comment on column pgdurable.responses.conversation_id is
  'The base conversation id as the client sent it, null where it sent none.';

/* The immutable request, one to one. */
create table pgdurable.requests (
  response_id          text collate "C" not null,
  body                 json not null,
  fields               json not null,
  metadata             jsonb not null default '{}',
  previous_response_id text collate "C",
  constraint requests_pkey primary key (response_id),
  constraint request_belongs_to_a_response foreign key (response_id) references pgdurable.responses (response_id) on delete cascade
);

create index requests_metadata_idx on pgdurable.requests using gin (metadata jsonb_path_ops)
where metadata <> '{}';

comment on table pgdurable.requests is
  'The request as it was sent (body) and what its response object echoes of it (fields).';

/* The log: insert only. No foreign key: delete_response and prune_responses take the events along. */
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
  company         integer,
  constraint attempts_pkey primary key (response_id, attempt),
  constraint attempt_belongs_to_a_response foreign key (response_id) references pgdurable.responses (response_id) on delete cascade,
  constraint reason_is_known check (reason in ('claim', 'takeover', 'release')),
  constraint outcome_is_known
    check (outcome in ('completed', 'failed', 'cancelled', 'incomplete', 'lost', 'stalled', 'released')),
  constraint company_only_when_lost check (company is null or outcome in ('lost', 'stalled')),
  constraint outcome_exactly_when_ended check ((ended_at is null) = (outcome is null)),
  constraint ended_not_before_started check (ended_at >= started_at)
);

comment on table pgdurable.attempts is
  'One row per attempt: which worker ran it, why, and how it ended.';
comment on column pgdurable.attempts.resumed is
  'Did earlier attempts leave events? Then it runs on a rotated conversation.';
comment on column pgdurable.attempts.company is
  'How many other responses its worker had in progress when it died (lost) or stood still (stalled).';

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
  agents       text[] not null default '{}',
  constraint workers_pkey primary key (worker_id)
)
with (fillfactor = 70);

comment on table pgdurable.workers is
  'Worker processes, for people; one serves every principal, so that a row belongs to none.';
