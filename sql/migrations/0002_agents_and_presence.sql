/*
 * Work goes to workers that have its agent; deaths are told from stalls, and deaths in company
 * from those alone.
 *
 * What a person had enqueued without naming an agent stays claimable by every worker, as it was.
 * Workers of the release before finish what they have, and claim nothing more.
 */
alter table pgdurable.responses alter column agent type text collate "C";

update pgdurable.responses as r
set agent = ''
where r.agent = 'agent'
  and r.status in ('queued', 'in_progress');

create index responses_claimable_by_agent_idx
on pgdurable.responses (queue, agent, priority desc, available_at, response_id)
where status = 'queued';

drop index pgdurable.responses_claimable_idx;

alter table pgdurable.attempts
add column company integer,
drop constraint outcome_is_known,
add constraint outcome_is_known
  check (outcome in ('completed', 'failed', 'cancelled', 'incomplete', 'lost', 'stalled', 'released')),
add constraint company_only_when_lost check (company is null or outcome in ('lost', 'stalled'));

alter table pgdurable.workers add column agents text[] not null default '{}';

-- These take more arguments now, or other defaults.
drop function if exists pgdurable.claim_responses(text, text[], integer, interval);
drop function if exists pgdurable.take_over_responses(text, text[], integer, interval);
drop function if exists pgdurable.register_worker(text, text, integer, text[], integer, text);
drop function if exists pgdurable._begin_attempts(text[], text, interval, text);
drop function if exists pgdurable._place_attempts(text[], text, timestamptz);
drop function if exists pgdurable._closed_items(text, integer);
drop function if exists pgdurable._lock_expired(text[], integer, timestamptz);
drop function if exists pgdurable._end_exhausted(text[], timestamptz);
