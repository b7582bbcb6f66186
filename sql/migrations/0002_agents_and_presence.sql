/*
 * Work goes to workers that have its agent; deaths are told from stalls, and deaths in company
 * from those alone.
 *
 * Workers of the release before finish what they have, and claim nothing more.
 */
-- It shows the column, and is made anew.
drop view pgdurable.response_overview;

alter table pgdurable.responses alter column agent type text collate "C";

alter table pgdurable.attempts
add column company integer,
drop constraint outcome_is_known,
add constraint outcome_is_known
  check (outcome in ('completed', 'failed', 'cancelled', 'incomplete', 'lost', 'stalled', 'released')) not valid,
add constraint company_only_when_lost check (company is null or outcome in ('lost', 'stalled')) not valid;

alter table pgdurable.workers add column agents text[] not null default '{}';

comment on column pgdurable.responses.agent is
  'Only workers that have this agent claim it; the empty name, from before agents were told apart, fits all.';
comment on column pgdurable.responses.failed_attempts is
  'Attempts whose worker died with nothing else in progress; max_attempts bounds these.';
comment on column pgdurable.attempts.company is
  'How many other responses its worker had in progress when it died (lost) or stood still (stalled).';

-- These take more arguments now, or other defaults.
drop function if exists pgdurable.claim_responses(text, text[], integer, interval);
drop function if exists pgdurable.take_over_responses(text, text[], integer, interval);
drop function if exists pgdurable.register_worker(text, text, integer, text[], integer, text);
drop function if exists pgdurable._begin_attempts(text[], text, interval, text);
drop function if exists pgdurable._place_attempts(text[], text, timestamptz);
drop function if exists pgdurable._closed_items(text, integer);
drop function if exists pgdurable._lock_expired(text[], integer, timestamptz);
drop function if exists pgdurable._end_exhausted(text[], timestamptz);
