/*
 * After 0001: the rows that were there are compared, too, and the functions go that nobody calls
 * any more.
 */
alter table pgdurable.responses
validate constraint started_not_before_created,
validate constraint finished_not_before_started;

alter table pgdurable.attempts validate constraint ended_not_before_started;

/*
 * Whoever was in a function of 0.1.0 when it was replaced has waited for a lock on responses,
 * and goes on in the old one. This waits until the last of them has ended.
 */
lock table pgdurable.responses in share row exclusive mode;

-- Their text is now where they were called, or they are called otherwise.
drop function if exists pgdurable._idempotency_key(text, text);
drop function if exists pgdurable._matching_responses(text, text, text, jsonb);
drop function if exists pgdurable._outcome(text, integer);
