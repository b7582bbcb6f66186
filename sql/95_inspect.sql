/*
 * inspect: what a person asks, as views.
 *
 *   status     unchanged
 *   called by  people, `pgdurable ls` and `pgdurable show`
 *   locks      nothing
 *   notifies   nobody
 *   raises     nothing
 */
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
  r.lease_expires_at - (select pgdurable.now()) as lease_left,
  r.cancel_requested_at is not null as cancel_requested,
  (select pgdurable.now()) - r.created_at as age,
  r.created_at,
  r.started_at,
  r.finished_at
from pgdurable.responses as r;

comment on view pgdurable.response_overview is
  'Every response: where it stands, who has it, and how long that lease still runs.';

create view pgdurable.queue_depth as
select
  r.queue,
  count(*) filter (where r.status = 'queued' and r.available_at <= (select pgdurable.now())) as claimable,
  count(*) filter (where r.status = 'queued' and r.available_at > (select pgdurable.now())) as delayed,
  count(*) filter (where r.status = 'in_progress') as in_progress,
  (select pgdurable.now()) - min(r.available_at) filter (where r.status = 'queued') as oldest_wait
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
  (select pgdurable.now()) - r.lease_expires_at as expired_for,
  r.queue
from pgdurable.responses as r
left join pgdurable.workers as w on w.worker_id = r.worker_id
where r.status = 'in_progress'
  and r.lease_expires_at < (select pgdurable.now());

comment on view pgdurable.expired_leases is
  'Responses with an expired lease that no worker has taken over yet: the stuck ones.';

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
  (select pgdurable.now()) - w.last_seen_at as silent_for,
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
