/*
 * wake: a coalesced hint that there is something to read or to claim.
 *
 *   status     unchanged
 *   called by  waker (after commits, in a transaction of its own); the functions that people call
 *   locks      nothing of ours; the commit takes Postgres' own notify lock
 *   notifies   pgdurable_work, pgdurable_tail
 *   raises     nothing: a hint must not fail its caller
 */

/*
 * Payloads are ids, space-separated, 200 to a payload (7,600 bytes of the 7,999
 * allowed): LISTEN has no privileges, so nothing but ids may go out.
 */
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
