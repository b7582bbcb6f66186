/*
 * The times of a response and of an attempt keep their order. A clock that was set back while
 * it ran has left some that do not; these are mended first: that reads both tables once, about
 * a second per million rows, and holds nobody up. What was there before is compared later, by
 * 0003, without the lock that adding a constraint needs.
 */
update pgdurable.responses as r
set
  started_at = case when r.started_at is not null then greatest(r.started_at, r.created_at) end,
  finished_at = case when r.finished_at is not null then greatest(r.finished_at, r.started_at, r.created_at) end
where r.started_at < r.created_at
  or r.finished_at < coalesce(r.started_at, r.created_at);

update pgdurable.attempts as a
set ended_at = a.started_at
where a.ended_at < a.started_at;

alter table pgdurable.responses
add constraint started_not_before_created check (started_at >= created_at) not valid,
add constraint finished_not_before_started
  check (finished_at >= coalesce(started_at, created_at)) not valid;

alter table pgdurable.attempts
add constraint ended_not_before_started check (ended_at >= started_at) not valid;

-- It names whole event types now, and the other one says whether it is in the background.
drop function pgdurable._streamed_parts(text, bigint, text);
drop function pgdurable._lifecycle_event(text, text, timestamptz, text, integer, json, json, json, json);

-- They answered a claimed response that was half null, and answer less now.
drop function pgdurable._end_without_handler(text, text, timestamptz);
drop function pgdurable._end_exhausted(text[], timestamptz);
drop function pgdurable._fail_overdue(text[], integer, timestamptz);

comment on table pgdurable.workers is
  'Worker processes, for people; one serves every principal, so that a row belongs to none.';
