/*
 * After 0002. What had been enqueued without naming an agent stays claimable by every worker, as it
 * was; two statements, because a response in progress must not wait for a long queue.
 */
update pgdurable.responses as r
set agent = ''
where r.agent = 'agent'
  and r.status = 'in_progress'
  and r.created_at <= (select m.applied_at from pgdurable.schema_migrations as m where m.version = 2);

update pgdurable.responses as r
set agent = ''
where r.agent = 'agent'
  and r.status = 'queued'
  and r.created_at <= (select m.applied_at from pgdurable.schema_migrations as m where m.version = 2);

/*
 * The index that a claim by agent scans. Until it is there, claims go through the one by queue, and
 * pass over what is for other agents.
 */
drop index concurrently if exists pgdurable.responses_claimable_by_agent_idx;

create index concurrently responses_claimable_by_agent_idx
on pgdurable.responses (queue, agent, priority desc, available_at, response_id)
where status = 'queued';

-- No function looks here any more; workers of 0.1.0 call the same functions.
drop index concurrently if exists pgdurable.responses_claimable_idx;

alter table pgdurable.attempts
validate constraint outcome_is_known,
validate constraint company_only_when_lost;
